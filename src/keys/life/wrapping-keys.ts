/**
 * Wrapping keys: RSA pairs in the HSM, under whose public halves key material is wrapped on its way in.
 *
 * One is made for each GetParametersForImport, under an intent as a backing key is (`key-life.ts`), and is good for 24 hours. It
 * is a service key: its label is of its own kind, it unwraps and does nothing else, and the API knows it by import tokens alone.
 * It is destroyed when its time has ended, when its KMS key is gone, or when its principal has asked for so many others that the
 * oldest of them has to go; nobody loses anything by it but a token. `Destroying` is the duty, in its record.
 *
 * Every pair takes room in the token, so they are bounded: per principal, of whom all sessions of a role are one, and in all.
 */

import { KeyStoreError, type WrappingKeySpec, wrappingKeyLabelPrefix } from '../../hsm/key-store.ts';
import { KmsError } from '../../kms/errors.ts';
import { type BackingKeyId, type KeyId, newBackingKeyId, type PrincipalArn } from '../../kms/names.ts';
import type { MetadataStore } from '../../store/metadata-store.ts';
import { added, type Change, removed, replaced } from '../../store/records/changes.ts';
import type { WrappingKeyRecord } from '../../store/records/records.ts';
import type { Turns } from '../../store/turns.ts';
import { expiredImportToken, type ImportTokens } from '../import-tokens.ts';
import type { KeyDirectory } from '../key-directory.ts';
import { fromKeyStoreError } from '../key-store-errors.ts';
import type { AttachedRecords } from './attached-records.ts';
import type { DomainKeys } from './domain-keys.ts';

/** Source: AWS KMS API reference, GetParametersForImport, ParametersValidTo. */
export const wrappingKeyLifeMs = 24 * 60 * 60 * 1000;
/** Whoever prepares more imports than these at once has the first of them replaced. */
const maxPerPrincipal = 32;
/** A quarter of what a small HSM holds. */
const maxInAll = 256;
/** How many are lost with their hosts before whoever asks is told: a member that is killed has two or more. */
const maxLosses = 2;

export interface KeyImportsOptions {
  readonly directory: KeyDirectory;
  readonly attached: AttachedRecords;
  readonly turns: Turns;
  /** The owner of the intents and duties that are made here. */
  readonly nodeId: string;
  readonly tokens: ImportTokens;
  readonly domainKeys: DomainKeys;
  /** Of the store: what is destroyed has to go from its file, too. */
  readonly store: Pick<MetadataStore, 'scrub'>;
}

/** What a wrapping key is to be for. */
export interface NewWrappingKey {
  readonly keyId: KeyId;
  /** The name of the key store into which material is to be imported. */
  readonly keyStore: string;
  /** Who asks. */
  readonly principal: PrincipalArn;
  readonly wrappingAlgorithm: string;
  readonly wrappingKeySpec: WrappingKeySpec;
}

/** A wrapping key that is in the HSM while no change has made it usable yet. */
export interface MadeWrappingKey {
  readonly backingKeyId: BackingKeyId;
  /** SubjectPublicKeyInfo in DER. */
  readonly publicKey: Buffer;
  readonly importToken: Buffer;
  readonly validToMs: number;
  /** The changes that make it usable, and end what its principal has too many of, as those of a turn. */
  activated(): readonly Change[];
  /** For when the turn refuses: destroys it. Never rejects. */
  undo(): Promise<void>;
  /** After the turn: destroys what `activated` ended. Never rejects; what is left, upkeep does. */
  destroyEnded(): Promise<void>;
}

export class WrappingKeys {
  readonly #directory: KeyDirectory;
  readonly #attached: AttachedRecords;
  readonly #turns: Turns;
  readonly #nodeId: string;
  readonly #tokens: ImportTokens;

  constructor({ directory, attached, turns, nodeId, tokens }: KeyImportsOptions) {
    this.#directory = directory;
    this.#attached = attached;
    this.#turns = turns;
    this.#nodeId = nodeId;
    this.#tokens = tokens;
  }

  all(): readonly WrappingKeyRecord[] {
    return this.#attached.allWrappingKeys();
  }

  find(backingKeyId: BackingKeyId): WrappingKeyRecord | undefined {
    return this.#attached.findWrappingKey(backingKeyId);
  }

  /** Is it this node's to finish or undo? */
  isUnfinished({ state, owner }: WrappingKeyRecord): boolean {
    return state !== 'Active' && owner === this.#nodeId;
  }

  /**
   * One that was lost with its HSM, or with the process before it, nobody has: another one is made while there is an HSM that could.
   * @throws KmsError for what the key store cannot do, or when there are too many; nothing is left behind then.
   */
  async make(wanted: NewWrappingKey): Promise<MadeWrappingKey> {
    for (let losses = 0; ; losses++) {
      try {
        return await this.#makeOnce(wanted);
      } catch (error) {
        const isLost = error instanceof KeyStoreError && error.failure === 'unavailable';
        const isMadeAgain = isLost && losses < maxLosses;
        if (!isMadeAgain || this.#directory.keyStore(wanted.keyStore).status().state !== 'connected')
          throw fromKeyStoreError(error);
      }
    }
  }

  async #makeOnce(wanted: NewWrappingKey): Promise<MadeWrappingKey> {
    const { keyId, keyStore, wrappingKeySpec } = wanted;
    const { region } = this.#directory.realm;
    const createdAtMs = Date.now();
    const intent: WrappingKeyRecord = {
      ...wanted,
      region,
      backingKeyId: newBackingKeyId(),
      version: 1,
      state: 'Creating',
      owner: this.#nodeId,
      createdAtMs,
      validToMs: createdAtMs + wrappingKeyLifeMs,
    };
    const { backingKeyId, validToMs } = intent;
    const begin = () => {
      this.#assertRoom();
      return { changes: [added('wrappingKey', intent)], response: undefined };
    };
    await this.#turns.take(begin, { isQuiet: true });
    const undo = (): Promise<void> => this.tryToDestroy(backingKeyId);
    try {
      const label = `${wrappingKeyLabelPrefix}${keyId}`;
      const request = { backingKeyId, label, wrappingKeySpec };
      const { publicKey } = await this.#directory.keyStore(keyStore).generateWrappingKey(request);
      const ended: WrappingKeyRecord[] = [];
      return {
        backingKeyId,
        publicKey,
        importToken: this.#tokens.issue(keyId, backingKeyId, validToMs),
        validToMs,
        undo,
        activated: () => {
          const others = this.#activeOf(intent.principal);
          ended.splice(0, ended.length, ...others.slice(0, Math.max(0, others.length - maxPerPrincipal + 1)));
          return [
            replaced('wrappingKey', intent, { state: 'Active', owner: '' }),
            ...ended.map((each) => replaced('wrappingKey', each, { state: 'Destroying', owner: this.#nodeId })),
          ];
        },
        destroyEnded: async () => {
          for (const each of ended) await this.tryToDestroy(each.backingKeyId);
        },
      };
    } catch (error) {
      await undo();
      throw error;
    }
  }

  /**
   * Ends a wrapping key: marks it, destroys it in the HSM, forgets it. Nothing happens when there is none.
   * @throws what the key store or the store refuse with; the mark stays then.
   */
  async destroy(backingKeyId: BackingKeyId): Promise<void> {
    const mark = () => {
      const found = this.#attached.findWrappingKey(backingKeyId);
      if (found?.state !== 'Active') return { changes: [], response: found };
      const marked = replaced('wrappingKey', found, { state: 'Destroying', owner: this.#nodeId });
      return { changes: [marked], response: found };
    };
    const record = await this.#turns.take<WrappingKeyRecord | undefined>(mark, { isQuiet: true });
    if (record === undefined) return;
    await this.#directory.keyStore(record.keyStore).destroyKey({ backingKeyId });
    await this.#turns.take(
      () => {
        const found = this.#attached.findWrappingKey(backingKeyId);
        return { changes: found === undefined ? [] : [removed('wrappingKey', found)], response: undefined };
      },
      { isPatient: true, isQuiet: true },
    );
  }

  /** The same; what is in the way is logged, and upkeep tries it again. */
  async tryToDestroy(backingKeyId: BackingKeyId): Promise<void> {
    try {
      await this.destroy(backingKeyId);
    } catch (error) {
      this.#directory.log.warn({ backingKeyId, error }, 'a wrapping key is destroyed later');
    }
  }

  /** Those that can be used and were made for this principal, the oldest first. */
  #activeOf(principal: PrincipalArn): readonly WrappingKeyRecord[] {
    return this.#attached
      .allWrappingKeys()
      .filter((record) => record.state === 'Active' && record.principal === principal)
      .sort((one, other) => one.createdAtMs - other.createdAtMs);
  }

  /** @throws KmsError `LimitExceededException`. */
  #assertRoom(): void {
    if (this.#attached.allWrappingKeys().length < maxInAll) return;
    throw new KmsError(
      'LimitExceededException',
      `There are ${maxInAll} wrapping keys for imports already; each ends 24 hours after it was made.`,
    );
  }
}

/**
 * Makes a call that opens what was wrapped under a wrapping key. A pair that the HSM has lost, or that only a member of the key store has in
 * which nothing is kept because it is to leave, has expired as far as an importer is concerned: he gets another one for the asking.
 * @param isMeant Is it the wrapping key that is lacking? It is unless given.
 * @throws KmsError `ExpiredImportTokenException`, and what the call rejects with.
 */
export async function byWrappingKey<Result>(
  call: () => Promise<Result>,
  isMeant: () => Promise<boolean> = async () => true,
): Promise<Result> {
  try {
    return await call();
  } catch (error) {
    const isGone = error instanceof KeyStoreError && error.failure === 'keyUnavailable';
    if (isGone && (await isMeant())) throw expiredImportToken(error);
    throw error;
  }
}
