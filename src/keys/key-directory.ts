/**
 * All KMS keys and aliases of this daemon, in memory, with every change written through to the store first.
 *
 * Reads never touch the store: `openKeyDirectory` loads everything once. A change is on disk before it is visible here,
 * and before its promise resolves; changes run one after the other, so that what a change checks (does the alias exist?)
 * still holds when it writes. The directory knows names and records. Who may change what is the pipeline's business, and
 * the life cycle in the HSM that of `key-creation.ts`.
 *
 * A record that did not verify is quarantined by the store. A key that lost one of its records to quarantine is not in
 * the directory but in `damaged`: whoever names it gets `KMSInternalException`, since an answer from half of a key's
 * records could allow what the other half forbids.
 */

import { createHash } from 'node:crypto';
import type { CompiledPolicy } from '../authorization/language/policy-document.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import { type AliasName, type BackingKeyId, type KeyId, keyArn, parseKeyId, type Realm } from '../kms/names.ts';
import type {
  AliasRecord,
  BackingKeyRecord,
  Change,
  KeyPolicyRecord,
  KeyRecord,
  LoadedMetadata,
  MetadataStore,
} from '../store/metadata-store.ts';
import { defaultEncryptionLimits, EncryptionCounter, type EncryptionLimits } from './encryption-counter.ts';
import { Grants } from './grants/grant-directory.ts';
import type { GrantTokens } from './grants/grant-tokens.ts';
import { internalMessage } from './key-store-errors.ts';
import type { BackingKey, KmsKey } from './kms-key.ts';
import { SortedNames } from './lists/sorted-names.ts';

export interface KeyDirectoryOptions {
  readonly realm: Realm;
  readonly store: MetadataStore;
  /** By name; `default` always exists. */
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  /** Parses a policy document; throws a `KmsError` when it is none. */
  readonly compilePolicy: (document: string) => CompiledPolicy;
  readonly log: Logger;
  readonly encryptionLimits?: EncryptionLimits;
}

/** The records that one KMS key consists of. */
export interface KeyRecords {
  readonly key: KeyRecord;
  readonly backingKeys: readonly BackingKeyRecord[];
  readonly policy: KeyPolicyRecord;
}

export class KeyDirectory {
  readonly realm: Realm;
  readonly log: Logger;
  readonly grants: Grants;
  /** What a policy is put with is what it is read with at the next start: one that can be put can be loaded. */
  readonly compilePolicy: KeyDirectoryOptions['compilePolicy'];
  readonly #keyStores: ReadonlyMap<string, KeyStore>;
  readonly #store: MetadataStore;
  readonly #limits: EncryptionLimits;
  readonly #keys = new Map<KeyId, KmsKey>();
  readonly #aliases = new Map<AliasName, AliasRecord>();
  /** By the key that they stand for. */
  readonly #aliasNames = new Map<KeyId, Set<AliasName>>();
  readonly #damaged = new Set<KeyId>();
  #lastChange: Promise<unknown> = Promise.resolve();

  /** Key ids and alias names in order, for the list operations. */
  readonly keyIds = new SortedNames<KeyId>();
  readonly aliasNames = new SortedNames<AliasName>();

  constructor(options: KeyDirectoryOptions, grantTokens: GrantTokens) {
    this.realm = options.realm;
    this.#keyStores = options.keyStores;
    this.#store = options.store;
    this.grants = new Grants(options.store, grantTokens);
    this.compilePolicy = options.compilePolicy;
    this.log = options.log;
    this.#limits = options.encryptionLimits ?? defaultEncryptionLimits;
  }

  /** How many KMS keys there are, and how many of them cannot be used because a record did not verify. */
  counts(): { readonly keys: number; readonly damaged: number; readonly aliases: number } {
    return { keys: this.#keys.size, damaged: this.#damaged.size, aliases: this.#aliases.size };
  }

  /**
   * @returns The key, or `undefined` when there is none.
   * @throws KmsError `KMSInternalException` when the key's records did not verify.
   */
  findKey(keyId: KeyId): KmsKey | undefined {
    const key = this.#keys.get(keyId);
    if (key === undefined && this.#damaged.has(keyId)) {
      throw new KmsError('KMSInternalException', internalMessage, `the records of key ${keyId} did not verify`);
    }
    return key;
  }

  findAlias(aliasName: AliasName): AliasRecord | undefined {
    return this.#aliases.get(aliasName);
  }

  /** The names that stand for a key. */
  aliasesOf(keyId: KeyId): readonly AliasName[] {
    return [...(this.#aliasNames.get(keyId) ?? [])];
  }

  /** The key store of that name. Its absence means that the configuration dropped a store whose keys are still on record. */
  keyStore(name: string): KeyStore {
    const keyStore = this.#keyStores.get(name);
    if (keyStore === undefined) {
      throw new KmsError('KMSInternalException', internalMessage, `key store \`${name}\` is not configured`);
    }
    return keyStore;
  }

  /** Runs one change after all earlier ones. What `change` reads from the directory stays true until it ends. */
  exclusively<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#lastChange.then(change);
    this.#lastChange = result.catch(() => undefined);
    return result;
  }

  /** Writes records that are not visible to anybody: the intent of a creation, or its undoing. */
  async writeIntent(changes: readonly Change[]): Promise<void> {
    await this.#store.write(changes);
  }

  /** Writes a key's records, new or changed, and makes them visible. */
  async putKey(records: KeyRecords, changes: readonly Change[]): Promise<KmsKey> {
    await this.#store.write(changes);
    return this.#show(records);
  }

  /** Puts another policy on a key. */
  async putPolicy(key: KmsKey, document: string, policy: CompiledPolicy): Promise<void> {
    const keyId = key.record.keyId;
    await this.#store.write([{ put: 'keyPolicy', record: { keyId, document } }]);
    const current = this.#keys.get(keyId);
    if (current !== undefined) this.#keys.set(keyId, { ...current, policyDocument: document, policy });
  }

  async putAlias(record: AliasRecord): Promise<void> {
    await this.#store.write([{ put: 'alias', record }]);
    this.#showAlias(record);
  }

  async removeAlias(aliasName: AliasName): Promise<void> {
    await this.#store.write([{ remove: 'alias', id: aliasName }]);
    this.#forgetAlias(aliasName);
    this.#aliases.delete(aliasName);
    this.aliasNames.remove(aliasName);
  }

  /** Takes what the store loaded; called once, by `openKeyDirectory`, with the unfinished creations already undone. */
  take(loaded: LoadedMetadata): void {
    for (const { kind, id, reason } of loaded.quarantined) {
      this.log.error({ kind, id, reason }, 'a record does not verify and is not used');
      const keyId = kind === 'key' ? parseKeyId(id) : undefined;
      if (keyId !== undefined) this.#damaged.add(keyId);
    }
    const backingKeys = Map.groupBy(loaded.backingKey, (record) => record.keyId);
    const policies = new Map(loaded.keyPolicy.map((record) => [record.keyId, record]));
    for (const key of loaded.key) this.#takeKey(key, backingKeys.get(key.keyId) ?? [], policies.get(key.keyId));
    for (const alias of loaded.alias) this.#showAlias(alias);
    for (const grant of loaded.grant) this.grants.show(grant);
  }

  #takeKey(key: KeyRecord, backingKeys: readonly BackingKeyRecord[], policy: KeyPolicyRecord | undefined): void {
    const problem = this.#problemOf(key, backingKeys, policy);
    if (policy === undefined || problem !== undefined) {
      this.#damaged.add(key.keyId);
      this.log.error({ keyId: key.keyId, problem }, 'a KMS key is refused because its records are incomplete');
      return;
    }
    try {
      this.#show({ key, backingKeys, policy });
    } catch (error) {
      this.#damaged.add(key.keyId);
      this.log.error(
        { keyId: key.keyId, problem: String(error) },
        'a KMS key is refused because its records cannot be used',
      );
    }
  }

  /** Ordinals count from 1 without a gap, so a backing key's missing record shows even where nothing else names it. */
  #problemOf(
    key: KeyRecord,
    backingKeys: readonly BackingKeyRecord[],
    policy: KeyPolicyRecord | undefined,
  ): string | undefined {
    if (policy === undefined) return 'no key policy';
    if (!backingKeys.some((record) => record.backingKeyId === key.currentBackingKeyId)) return 'no current backing key';
    if (Math.max(...backingKeys.map((record) => record.ordinal)) !== backingKeys.length)
      return 'a backing key is missing';
    return undefined;
  }

  #show({ key, backingKeys, policy }: KeyRecords): KmsKey {
    const known = this.#keys.get(key.keyId);
    const byId = new Map<BackingKeyId, BackingKey>();
    for (const record of backingKeys) {
      byId.set(record.backingKeyId, known?.backingKeys.get(record.backingKeyId) ?? this.#backingKey(record));
    }
    const currentBackingKey = byId.get(key.currentBackingKeyId);
    if (currentBackingKey === undefined) throw new TypeError(`key ${key.keyId} has no current backing key`);
    const kmsKey: KmsKey = {
      record: key,
      arn: keyArn(this.realm, key.keyId),
      policyDocument: policy.document,
      policy: known?.policyDocument === policy.document ? known.policy : this.compilePolicy(policy.document),
      backingKeys: byId,
      currentBackingKey,
    };
    this.#keys.set(key.keyId, kmsKey);
    this.keyIds.add(key.keyId);
    return kmsKey;
  }

  #backingKey(record: BackingKeyRecord): BackingKey {
    const persist = (reservedEncryptions: number): Promise<void> =>
      this.#store.write([{ put: 'backingKey', record: { ...record, reservedEncryptions } }]);
    return {
      record,
      keyStore: this.keyStore(record.keyStore),
      keyMaterialId: createHash('sha256').update(`drawbridge/key-material-id/1:${record.backingKeyId}`).digest('hex'),
      counter: new EncryptionCounter(record.reservedEncryptions, persist, this.#limits),
    };
  }

  #showAlias(record: AliasRecord): void {
    this.#forgetAlias(record.aliasName);
    this.#aliases.set(record.aliasName, record);
    this.aliasNames.add(record.aliasName);
    const names = this.#aliasNames.get(record.keyId) ?? new Set();
    this.#aliasNames.set(record.keyId, names.add(record.aliasName));
  }

  /** From the names of the key for which it stood. */
  #forgetAlias(aliasName: AliasName): void {
    const keyId = this.#aliases.get(aliasName)?.keyId;
    const names = keyId === undefined ? undefined : this.#aliasNames.get(keyId);
    if (keyId === undefined || names === undefined) return;
    names.delete(aliasName);
    if (names.size === 0) this.#aliasNames.delete(keyId);
  }
}
