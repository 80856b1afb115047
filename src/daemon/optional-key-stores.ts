/**
 * Key stores that the configuration names and that a start does not need: no Region's default one, and not that of the service keys.
 *
 * Each is connected when the daemon serves, is tried for as long as it is away, and serves once it was found to be the token in which
 * its keys were made and what an earlier run left in it is settled. What is wrong with one of them keeps nobody from the others.
 */

import type { Configuration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { DetachableKeyStore } from '../hsm/detachable-key-store.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import type { TokenConnection } from '../hsm/token-connection.ts';
import type { KeyView } from '../keys/key-view.ts';
import type { DomainKeys } from '../keys/life/domain-keys.ts';
import { settleLateKeyStore } from '../keys/life/late-key-store.ts';
import type { LeftIntents } from '../keys/life/left-intents.ts';
import { materialsOfRegions } from '../keys/regions-of-material.ts';
import type { Logger } from '../kms/logger.ts';
import { whenVerified } from '../store/record-source.ts';
import type { Turns } from '../store/turns.ts';
import { beginConfiguredKeyStore, requiredKeyStores } from './configured-key-stores.ts';
import type { DomainKeyStores } from './domain-key-stores.ts';
import type { MemberProofs } from './member-proofs.ts';
import { assertTokenIsOurs, keysLookedFor } from './own-token.ts';

/** Between two attempts to settle one that is connected. */
const retryMs = 2_000;

export interface AdmissionParts {
  readonly regions: readonly { readonly directory: KeyView }[];
  readonly domainKeys: DomainKeys;
  readonly domainKeyStores: Pick<DomainKeyStores, 'look'>;
  readonly proofs: Pick<MemberProofs, 'assertStays'>;
  readonly leftIntents: LeftIntents;
  /** Is told of each that serves. */
  readonly follow: (keyStore: KeyStore) => void;
  readonly turns: Turns;
  readonly nodeId: string;
  readonly dataDir: string;
  readonly log: Logger;
}

/**
 * Looks at a token that is connected, before it serves.
 * @param keyStore With nothing between it and its token.
 * @throws ConfigurationError when it has none of the keys that it should have; KeyStoreError when it does not tell.
 */
export function examineLateToken(name: string, keyStore: KeyStore, parts: AdmissionParts): Promise<void> {
  return whenVerified(() => examine(name, keyStore, parts));
}

/** Can be repeated. */
async function examine(name: string, keyStore: KeyStore, parts: AdmissionParts): Promise<void> {
  const { regions, domainKeys, proofs, leftIntents, turns, nodeId, dataDir, log } = parts;
  const directory = regions[0]?.directory;
  if (directory === undefined) throw new TypeError('an instance has one Region at least');
  const inUse = domainKeys.of(name).flatMap(({ state, backingKeyId }) => (state === 'Active' ? [backingKeyId] : []));
  for (const { state, residency, backingKeyId } of materialsOfRegions(directory.regions.values(), name)) {
    if (state === 'Active' && residency !== 'wrapped') inUse.push(backingKeyId);
    if (inUse.length >= keysLookedFor) break;
  }
  await assertTokenIsOurs(keyStore, dataDir, inUse);
  await proofs.assertStays(name, keyStore);
  await settleLateKeyStore(name, keyStore, { directory, domainKeys, leftIntents, turns, nodeId, log });
}

export interface OptionalKeyStoresParts {
  readonly configuration: Configuration;
  readonly environment: NodeJS.ProcessEnv;
  /** Those that are open already, and are closed by whoever opened them. */
  readonly open: readonly KeyStore[];
  readonly proofs: Pick<MemberProofs, 'prove' | 'proveOnly'>;
  readonly log: Logger;
}

interface Optional {
  readonly place: DetachableKeyStore;
  /** What is attached, once it was begun. */
  keyStore: KeyStore | undefined;
  examination: Promise<void> | undefined;
}

export class OptionalKeyStores {
  readonly #parts: OptionalKeyStoresParts;
  readonly #byName: ReadonlyMap<string, Optional>;
  #admission: AdmissionParts | undefined;
  #isClosed = false;

  constructor(parts: OptionalKeyStoresParts) {
    this.#parts = parts;
    const { configuration } = parts;
    const required = requiredKeyStores(configuration);
    const names = [...configuration.keyStores.keys()].filter((name) => !required.has(name));
    this.#byName = new Map(
      names.map((name) => [name, { place: new DetachableKeyStore(name), keyStore: undefined, examination: undefined }]),
    );
  }

  /** What stands for them, by name. */
  get places(): ReadonlyMap<string, DetachableKeyStore> {
    return new Map([...this.#byName].map(([name, { place }]) => [name, place]));
  }

  /** Begins to connect them. */
  connect(admission: AdmissionParts): void {
    this.#admission = admission;
    for (const [name, optional] of this.#byName) this.#begin(name, optional);
  }

  /** What a place stands for; `undefined` of a key store that the start needs. */
  attached(name: string): KeyStore | undefined {
    return this.#byName.get(name)?.keyStore;
  }

  /**
   * An operator's word.
   * @returns `undefined` when there is none of this name.
   * @throws KeyStoreError when it cannot be connected.
   */
  async reconnect(name: string): Promise<KeyStore | undefined> {
    const optional = this.#byName.get(name);
    if (optional === undefined) return undefined;
    // What could not even be begun may be there by now.
    if (optional.keyStore === undefined && this.#admission !== undefined) this.#begin(name, optional);
    await optional.place.reconnect();
    await this.#examine(name, optional);
    return optional.place;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const { open } = this.#parts;
    const ours = [...this.#byName.values()].filter(({ keyStore }) => keyStore && !open.includes(keyStore));
    await Promise.all(ours.map(({ place }) => place.close()));
    await Promise.all([...this.#byName.values()].map(({ examination }) => examination));
  }

  #begin(name: string, optional: Optional): void {
    const { configuration, environment, open, proofs, log } = this.#parts;
    const { place } = optional;
    try {
      const theirs = open.find((keyStore) => keyStore.name === name);
      const events = {
        connected: () => {
          place.events.connected();
          void this.#examine(name, optional);
        },
        failed: () => place.events.failed(),
        pinRefused: () => undefined,
      };
      const prove = (connection: TokenConnection, member: string) => proofs.prove(name, member, connection);
      // The first connections are looked at by `#examine`, which leaves alone what is not ours.
      const proveOnly = async (connection: TokenConnection): Promise<void> => {
        if (place.isAdmitted) await proofs.proveOnly(name, connection);
      };
      const settings = { keyStores: configuration.keyStores, environment, prove, proveOnly, log };
      optional.keyStore = theirs ?? beginConfiguredKeyStore(name, settings, () => true, events).keyStore;
      place.attach(optional.keyStore);
      if (theirs !== undefined) void this.#examine(name, optional);
    } catch (error) {
      const problem = String(error instanceof Error ? error.message : error);
      place.refuse(problem);
      log.error({ keyStore: name, problem }, 'a key store cannot be connected; the others are served');
    }
  }

  /** One at a time. Never rejects. */
  #examine(name: string, optional: Optional): Promise<void> {
    if (optional.place.isAdmitted) return Promise.resolve();
    optional.examination ??= this.#examineOnce(name, optional).finally(() => {
      optional.examination = undefined;
    });
    return optional.examination;
  }

  async #examineOnce(name: string, optional: Optional): Promise<void> {
    const { place, keyStore } = optional;
    if (keyStore === undefined || this.#admission === undefined || this.#isClosed) return;
    const { log } = this.#parts;
    try {
      await examineLateToken(name, keyStore, this.#admission);
      place.admit();
      log.info({ keyStore: name }, 'a key store serves');
      this.#admission.follow(keyStore);
      await this.#admission.domainKeyStores.look();
    } catch (error) {
      const problem = String(error instanceof Error ? error.message : error);
      place.refuse(problem, error instanceof ConfigurationError);
      if (error instanceof ConfigurationError) {
        log.error({ keyStore: name, problem }, 'a key store is not used; the others are served');
        return;
      }
      log.warn({ keyStore: name, problem }, 'a key store could not be looked at; it is tried again');
      setTimeout(() => void this.#examine(name, optional), retryMs).unref();
    }
  }
}
