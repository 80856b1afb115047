/**
 * Domain keys: what wrapped keys are wrapped under. They are token objects, one for each key store that has wrapped keys, made when the
 * first of these needs it.
 *
 * Each has a record, under a MAC as every record: whoever edits the database cannot have anything wrapped under a key of his choice. It
 * is made as a backing key is (`key-life.ts`): an intent with an owner, the object, the record that it is there. There is one set of them for
 * all Regions, because a key store may serve several.
 */

import { domainKeyLabelPrefix, type KeyStore, KeyStoreError } from '../../hsm/key-store.ts';
import type { Logger } from '../../kms/logger.ts';
import { type BackingKeyId, newBackingKeyId } from '../../kms/names.ts';
import type { Residency } from '../../kms/residencies.ts';
import type { LoadedMetadata } from '../../store/metadata-store.ts';
import { added, type Change, removed, replaced } from '../../store/records/changes.ts';
import type { DomainKeyRecord } from '../../store/records/records.ts';
import type { Fold, Turns } from '../../store/turns.ts';
import { fromKeyStoreError } from '../key-store-errors.ts';

export interface DomainKeysOptions {
  readonly turns: Turns;
  /** The owner of the intents that are made here. */
  readonly nodeId: string;
  /** Where new keys of a key store live, by its name; in the token unless given. */
  readonly residencies?: ReadonlyMap<string, Residency> | undefined;
  readonly log: Logger;
}

export class DomainKeys implements Fold {
  readonly #options: DomainKeysOptions;
  readonly #records = new Map<string, DomainKeyRecord>();
  /** Those under which something is wrapped, or was. */
  readonly #used = new Set<string>();
  /** Of key stores whose domain key is being made. */
  readonly #making = new Map<string, Promise<BackingKeyId>>();

  /** Follows the records from now on. */
  constructor(options: DomainKeysOptions, { domainKey, backingKey }: Pick<LoadedMetadata, 'domainKey' | 'backingKey'>) {
    this.#options = options;
    for (const { domainKeyId } of backingKey) if (domainKeyId !== null) this.#used.add(domainKeyId);
    for (const record of domainKey) this.#records.set(nameOf(record), record);
    options.turns.follow(this);
  }

  apply(changes: readonly Change[]): void {
    for (const change of changes) {
      if ('put' in change) {
        if (change.put === 'backingKey' && change.record.domainKeyId !== null)
          this.#used.add(change.record.domainKeyId);
        if (change.put === 'domainKey') this.#records.set(nameOf(change.record), change.record);
      } else if (change.remove === 'domainKey') this.#records.delete(nameOf(change.record));
    }
  }

  /** Where new keys of a key store live. */
  residencyIn(keyStore: string): Residency {
    return this.#options.residencies?.get(keyStore) ?? 'token';
  }

  /** Those of a key store, the oldest first. */
  of(keyStore: string): readonly DomainKeyRecord[] {
    return [...this.#records.values()]
      .filter((record) => record.keyStore === keyStore)
      .sort((one, other) => one.ordinal - other.ordinal);
  }

  /** Is it still in any HSM? */
  isThere(backingKeyId: string): boolean {
    return [...this.#records.values()].some((record) => record.backingKeyId === backingKeyId);
  }

  /**
   * The domain key under which what is new is wrapped, made if there is none.
   * @throws KmsError for what the key store cannot do; nothing is left behind then.
   */
  async current(name: string, keyStore: Pick<KeyStore, 'generateDomainKey' | 'destroyKey'>): Promise<BackingKeyId> {
    const known = this.of(name).findLast(({ state }) => state === 'Active');
    if (known !== undefined) return known.backingKeyId;
    let making = this.#making.get(name);
    if (making === undefined) {
      making = this.#make(name, keyStore).finally(() => this.#making.delete(name));
      this.#making.set(name, making);
    }
    return making;
  }

  /**
   * At a start, or when a key store is there that was not: undoes what this node began and did not finish, before anything was wrapped
   * under it, and says in the log which domain keys the HSM lacks.
   * @throws KeyStoreError when the key store is in the way.
   */
  async settle(name: string, keyStore: Pick<KeyStore, 'destroyKey' | 'describeKey'>): Promise<void> {
    const { turns, nodeId, log } = this.#options;
    if (this.#making.has(name)) return;
    for (const record of this.of(name)) {
      const { backingKeyId, state, owner } = record;
      if (state === 'Creating' && this.#used.has(backingKeyId)) {
        log.error(
          { keyStore: name, backingKeyId },
          'keys are wrapped under a domain key whose record says that it was never finished; an old record was put back, and nothing is destroyed',
        );
      } else if (state === 'Creating' && owner === nodeId) {
        await keyStore.destroyKey({ backingKeyId });
        await turns.take(() => ({ changes: [removed('domainKey', record)], response: undefined }), { isQuiet: true });
        log.info({ backingKeyId, keyStore: name }, 'undid an unfinished creation of a domain key');
      }
      if (state === 'Active' && !(await isInHsm(keyStore, backingKeyId)))
        log.error(
          { keyStore: name, backingKeyId },
          'a domain key is not in the HSM, and the backing keys that are wrapped under it cannot be used',
        );
    }
  }

  async #make(name: string, keyStore: Pick<KeyStore, 'generateDomainKey' | 'destroyKey'>): Promise<BackingKeyId> {
    const { turns, nodeId, log } = this.#options;
    const backingKeyId = newBackingKeyId();
    const intent: DomainKeyRecord = {
      keyStore: name,
      backingKeyId,
      version: 1,
      state: 'Creating',
      owner: nodeId,
      ordinal: (this.of(name).at(-1)?.ordinal ?? 0) + 1,
      createdAtMs: Date.now(),
    };
    await turns.take(() => ({ changes: [added('domainKey', intent)], response: undefined }), { isQuiet: true });
    try {
      await keyStore.generateDomainKey({ backingKeyId, label: `${domainKeyLabelPrefix}${name}:${intent.ordinal}` });
      const active = replaced('domainKey', intent, { state: 'Active', owner: '' });
      await turns.take(() => ({ changes: [active], response: undefined }), { isQuiet: true });
      log.info({ keyStore: name, backingKeyId }, 'made a domain key, under which keys are wrapped from now on');
      return backingKeyId;
    } catch (error) {
      await this.#undo(intent, keyStore);
      throw fromKeyStoreError(error);
    }
  }

  /** Object first, then record, as of a backing key. */
  async #undo(intent: DomainKeyRecord, keyStore: Pick<KeyStore, 'destroyKey'>): Promise<void> {
    const { turns, log } = this.#options;
    const { backingKeyId } = intent;
    try {
      await keyStore.destroyKey({ backingKeyId });
      const undone = { changes: [removed('domainKey', intent)], response: undefined };
      await turns.take(() => undone, { isPatient: true, isQuiet: true });
    } catch (error) {
      log.warn({ backingKeyId, error }, 'an unfinished creation of a domain key is undone at the next start');
    }
  }
}

async function isInHsm(keyStore: Pick<KeyStore, 'describeKey'>, backingKeyId: BackingKeyId): Promise<boolean> {
  try {
    await keyStore.describeKey({ backingKeyId });
    return true;
  } catch (error) {
    if (error instanceof KeyStoreError && error.failure === 'keyUnavailable') return false;
    throw error;
  }
}

/** Neither part has a blank. */
function nameOf({ keyStore, backingKeyId }: DomainKeyRecord): string {
  return `${keyStore} ${backingKeyId}`;
}
