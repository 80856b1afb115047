/**
 * All KMS keys, aliases and grants of one Region, in memory: a fold over the records.
 *
 * Reads never touch the store: `take` has what was loaded, and from then on `apply` is the one way in which anything in here
 * becomes different, with changes that are on disk already. Who decides on changes and writes them is `store/turns.ts`; who
 * may, is the pipeline's business; the life of a key in the HSM is that of `life/`.
 *
 * A record that did not verify is quarantined by the store. A key that lost one of its records to quarantine is not in
 * the directory but damaged: whoever names it gets `KMSInternalException`, since an answer from half of a key's records could
 * allow what the other half forbids.
 */

import type { CompiledPolicy } from '../authorization/language/compiled-policy.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { defaultBudgets } from '../kms/budgets.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import {
  type BackingKeyId,
  digitsOfKeyId,
  type KeyId,
  keyArn,
  keyIdsOfDigits,
  newKeyId,
  parseKeyId,
  type Realm,
} from '../kms/names.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import type { Change } from '../store/records/changes.ts';
import type { BackingKeyRecord, KeyPolicyRecord, KeyRecord } from '../store/records/records.ts';
import type { Fold } from '../store/turns.ts';
import { AliasDirectory } from './alias-directory.ts';
import { CompiledPolicies } from './compiled-policies.ts';
import { type CustomKeyStoreSource, noCustomKeyStores, watchedOver } from './custom-key-store.ts';
import { defaultEncryptionLimits } from './encryption-counter.ts';
import { ExpiryWatch, machineExpiryClocks } from './expiry-watch.ts';
import { Grants } from './grants/grant-directory.ts';
import type { GrantTokens } from './grants/grant-tokens.ts';
import type { KeyBudgets, KeysOfRegionOptions } from './key-directory-options.ts';
import { internalMessage } from './key-store-errors.ts';
import type { KmsKey } from './kms-key.ts';
import { LastUses } from './last-uses.ts';
import { inOrder, SortedNames } from './lists/sorted-names.ts';
import { ManagedServices } from './managed-services.ts';
import { endOthers, MaterialInUse } from './material-in-use.ts';
import { problemOfMaterials } from './materials-of-key.ts';
import { RecordMemory } from './record-memory.ts';
import { RecordsOfKeys } from './records-of-keys.ts';
import { isOfRegion, recordsElsewhere } from './regions-of-material.ts';
import { Tombstones } from './tombstones.ts';

export interface KeyDirectoryOptions extends KeysOfRegionOptions {
  /** The directories of all Regions by the name of their Region: this one adds itself. Absent: there is no other. */
  readonly regions?: Map<string, KeyDirectory> | undefined;
}

export class KeyDirectory implements Fold {
  readonly realm: Realm;
  readonly regions: ReadonlyMap<string, KeyDirectory>;
  readonly log: Logger;
  readonly aliases = new AliasDirectory();
  readonly grants: Grants;
  readonly tombstones = new Tombstones();
  readonly lastUses: LastUses;
  readonly services: ManagedServices;
  /** The key stores beside the default one. */
  readonly customKeyStores: CustomKeyStoreSource;
  readonly compilePolicy: (document: string) => CompiledPolicy;
  readonly budgets: KeyBudgets;
  /** The name of the key store in which keys are made for whoever names none. */
  readonly defaultKeyStore: string;
  readonly #keyStores: ReadonlyMap<string, KeyStore>;
  readonly #inUse: MaterialInUse;
  readonly #expiry: ExpiryWatch;
  readonly #policies: CompiledPolicies;
  readonly #records = new RecordsOfKeys();
  readonly #keys = new Map<KeyId, KmsKey>();
  readonly memory: RecordMemory;
  /** Those with a record that did not verify stay so until the next start. */
  readonly #quarantined = new Set<KeyId>();
  readonly #damaged = new Set<KeyId>();
  #numbersRunOut: (keyId: KeyId, backingKeyId: BackingKeyId) => void = () => undefined;

  /** In order, for the list operation. */
  readonly keyIds = new SortedNames<KeyId>();

  constructor(options: KeyDirectoryOptions, grantTokens: GrantTokens) {
    this.realm = options.realm;
    this.regions = (options.regions ?? new Map<string, KeyDirectory>()).set(options.realm.region, this);
    this.log = options.log;
    this.compilePolicy = options.compilePolicy;
    this.defaultKeyStore = options.defaultKeyStore;
    this.budgets = options.budgets ?? defaultBudgets;
    this.grants = new Grants(grantTokens, this.budgets.quotas);
    this.services = new ManagedServices(options.realm);
    const { aliases, grants, tombstones } = this;
    this.memory = new RecordMemory({ records: this.#records, aliases, grants, tombstones }, this.budgets.memory);
    this.lastUses = new LastUses({ ...options, hasKey: (keyId) => this.#keys.has(keyId) });
    this.#keyStores = options.keyStores;
    this.customKeyStores = options.customKeyStores ?? noCustomKeyStores;
    this.#policies = new CompiledPolicies(options.compilePolicy, this.budgets.memory.compiledPolicyBytes);
    this.#inUse = new MaterialInUse({
      turns: options.turns,
      limits: options.encryptionLimits ?? defaultEncryptionLimits,
      log: options.log,
      keyStore: (name) => this.keyStore(name),
      find: (backingKeyId) => this.#records.findMaterial(backingKeyId),
      elsewhere: (material) => recordsElsewhere(this.regions, material),
      numbersRunOut: (keyId, backingKeyId) => this.#numbersRunOut(keyId, backingKeyId),
    });
    this.#expiry = new ExpiryWatch(options.expiryClocks ?? machineExpiryClocks);
  }

  /** How many KMS keys there are, are pending deletion, and cannot be used because a record did not verify. */
  counts(): Readonly<Record<'keys' | 'pendingDeletion' | 'damaged' | 'aliases', number>> {
    let pendingDeletion = 0;
    for (const { record } of this.#keys.values()) if (record.state === 'PendingDeletion') pendingDeletion++;
    return { keys: this.#keys.size, pendingDeletion, damaged: this.#damaged.size, aliases: this.aliases.size };
  }

  /** @throws KmsError `LimitExceededException` when there are as many keys as there can be. */
  assertRoomForKey(): void {
    const [keys, size] = [this.budgets.quotas.keys, this.#keys.size];
    const message = `Key quota for this account in this region is ${keys} but the current usage is ${size}.`;
    if (size >= keys) throw new KmsError('LimitExceededException', message);
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

  /** As `findKey`, and `undefined` for one whose records did not verify: for whoever tells of several keys. */
  findSoundKey(keyId: KeyId): KmsKey | undefined {
    return this.#keys.get(keyId);
  }

  /** What is on record of a key's material, also of what is being made. */
  materialRecords(keyId: KeyId): readonly BackingKeyRecord[] {
    return [...(this.#records.of(keyId)?.backingKeys.values() ?? [])];
  }

  /** What is on record, for whoever compares it with an HSM. */
  get onRecord(): Pick<RecordsOfKeys, 'of' | 'materialsIn' | 'findMaterial'> {
    return this.#records;
  }

  /** Is the material there, and has not expired? */
  isUsable(material: BackingKeyRecord): boolean {
    return material.state === 'Active' && !this.#expiry.hasExpired(material);
  }

  /** The key whose id has these 32 digits; a ciphertext does not say in which of the two forms. Throws as `findKey`. */
  findKeyOfDigits(digits: string): KmsKey | undefined {
    const [single, multiRegion] = keyIdsOfDigits(digits);
    return this.findKey(single) ?? this.findKey(multiRegion);
  }

  /** All keys, in no order. */
  all(): Iterable<KmsKey> {
    return this.#keys.values();
  }

  /** The first proposed id that no key has or had, nor any other key's id the digits of. */
  unusedKeyId(propose: () => KeyId = newKeyId): KeyId {
    for (;;) {
      const keyId = propose();
      const forms = keyIdsOfDigits(digitsOfKeyId(keyId));
      if (![...this.regions.values()].some((directory) => forms.some((form) => directory.knows(form)))) return keyId;
    }
  }

  /** Is there, or was there, anything of this id? */
  knows(keyId: KeyId): boolean {
    return this.#records.of(keyId) !== undefined || this.#damaged.has(keyId) || this.tombstones.has(keyId);
  }

  /** Can the Region use what is in the key store of that name? */
  hasKeyStore(name: string): boolean {
    return this.#keyStores.has(name);
  }

  /** The key store of that name. Its absence means that the configuration dropped a store whose keys are still on record. */
  keyStore(name: string): KeyStore {
    const keyStore = this.#keyStores.get(name) ?? this.customKeyStores.keyStore(name);
    if (keyStore === undefined) {
      throw new KmsError('KMSInternalException', internalMessage, `key store \`${name}\` is not configured`);
    }
    return keyStore;
  }

  /** Who is told of a key and its backing key when the last numbers of that one are being used. One listener, `life/`. */
  whenNumbersRunOut(listener: (keyId: KeyId, backingKeyId: BackingKeyId) => void): void {
    this.#numbersRunOut = listener;
  }

  /** Takes what the store loaded; called once, with the unfinished creations already undone. */
  take(loaded: LoadedMetadata): void {
    for (const { kind, id, region } of loaded.quarantined) {
      const keyId = kind === 'key' && this.#isOurs({ region }) ? parseKeyId(id) : undefined;
      if (keyId === undefined) continue;
      this.#quarantined.add(keyId);
      this.#damaged.add(keyId);
    }
    for (const record of loaded.tombstone) if (this.#isOurs(record)) this.tombstones.show(record);
    const touched = new Set<KeyId>();
    // In order, and keys first: a name at the end of a list is the cheapest to add.
    for (const record of inOrder(loaded.key, 'keyId'))
      if (this.#isOurs(record)) touched.add(this.#records.fileKey(record));
    for (const record of loaded.backingKey) if (this.#isOurs(record)) touched.add(this.#records.fileBackingKey(record));
    for (const record of loaded.keyPolicy) if (this.#isOurs(record)) touched.add(this.#records.filePolicy(record));
    for (const keyId of touched) this.#derive(keyId);
    this.lastUses.take(loaded);
    this.memory.take(loaded, this.realm.region);
    for (const alias of inOrder(loaded.alias, 'aliasName')) if (this.#isOurs(alias)) this.aliases.show(alias);
    for (const grant of inOrder(loaded.grant, 'grantId')) if (this.#isOurs(grant)) this.grants.show(grant);
  }

  /** INVARIANT: memory is the fold of all changes; nothing but this and `take` makes anything in here different. */
  apply(changes: readonly Change[]): void {
    const touched = new Set<KeyId>();
    for (const change of changes) this.#applyOne(change, touched);
    for (const keyId of touched) this.#derive(keyId);
  }

  #applyOne(change: Change, touched: Set<KeyId>): void {
    if (!this.#isOurs(change.record)) return;
    this.memory.follow(change);
    if ('put' in change) {
      if (!this.#isOfDeletedKey(change.record)) this.#applyPut(change, touched);
    } else {
      this.#applyRemoval(change, touched);
    }
  }

  #applyPut(change: Extract<Change, { readonly put: unknown }>, touched: Set<KeyId>): void {
    switch (change.put) {
      case 'key':
        touched.add(this.#records.fileKey(change.record));
        break;
      case 'backingKey':
        touched.add(this.#records.fileBackingKey(change.record));
        break;
      case 'keyPolicy':
        touched.add(this.#records.filePolicy(change.record));
        break;
      case 'alias':
        this.aliases.show(change.record);
        break;
      case 'grant':
        this.grants.show(change.record);
        break;
      case 'tombstone':
        this.tombstones.show(change.record);
        break;
      case 'lastUse':
        this.lastUses.show(change.record);
        break;
      case 'accessKey':
      case 'wrappingKey':
      case 'milestone':
      case 'upkeepWait':
      case 'domainKey':
      case 'remnant':
      case 'customKeyStore':
        break;
      default:
        change satisfies never;
    }
  }

  /** What the store finds in the way of a change may be a row that somebody put back. */
  #isOfDeletedKey(record: Change['record']): boolean {
    if (
      !('region' in record && 'keyId' in record) ||
      !this.tombstones.has(record.keyId) ||
      this.#records.of(record.keyId)?.key
    )
      return false;
    this.log.error({ keyId: record.keyId }, 'a record of a KMS key that was deleted is in the database again');
    return true;
  }

  #applyRemoval(change: Extract<Change, { readonly remove: unknown }>, touched: Set<KeyId>): void {
    switch (change.remove) {
      case 'key':
        touched.add(this.#records.dropKey(change.record.keyId));
        break;
      case 'backingKey':
        touched.add(this.#records.dropBackingKey(change.record));
        break;
      case 'keyPolicy':
        touched.add(this.#records.dropPolicy(change.record.keyId));
        break;
      case 'alias':
        this.aliases.hide(change.record.aliasName);
        break;
      case 'grant':
        this.grants.hide(change.record.grantId);
        break;
      case 'lastUse':
        this.lastUses.hide(change.record.keyId);
        break;
      case 'tombstone':
        this.tombstones.hide(change.record.keyId);
        break;
      case 'accessKey':
      case 'wrappingKey':
      case 'milestone':
      case 'upkeepWait':
      case 'domainKey':
      case 'remnant':
      case 'customKeyStore':
        break;
      default:
        change satisfies never;
    }
  }

  #isOurs(record: object): boolean {
    return isOfRegion(record, this.realm.region);
  }

  /** Makes the KMS key that its records say, or finds that they say none. */
  #derive(keyId: KeyId): void {
    const records = this.#records.of(keyId);
    const former = this.#keys.get(keyId);
    if (records?.key === undefined) {
      endOthers(former, undefined);
      this.#keys.delete(keyId);
      this.keyIds.remove(keyId);
      if (!this.#quarantined.has(keyId)) this.#damaged.delete(keyId);
      this.#records.forgetEmpty(keyId);
      return;
    }
    const made = [...records.backingKeys.values()].filter(({ state }) => state !== 'Creating');
    const key = this.#assemble(records.key, made, records.policy);
    endOthers(former, typeof key === 'string' ? undefined : key);
    if (typeof key === 'string') {
      this.#damaged.add(keyId);
      this.#keys.delete(keyId);
      this.keyIds.remove(keyId);
      this.log.error({ keyId, problem: key }, 'a KMS key is refused because its records cannot be used');
      return;
    }
    if (!this.#quarantined.has(keyId)) this.#damaged.delete(keyId);
    if (!this.#keys.has(keyId)) this.keyIds.add(keyId);
    this.#keys.set(keyId, key);
  }

  /** @returns The key, or what is wrong with its records. */
  #assemble(
    record: KeyRecord,
    made: readonly BackingKeyRecord[],
    policyRecord: KeyPolicyRecord | undefined,
  ): KmsKey | string {
    if (policyRecord === undefined) return 'no key policy';
    const materials = [...made].sort((one, other) => one.ordinal - other.ordinal);
    const problem = problemOfMaterials(record, materials);
    if (problem !== undefined) return problem;
    const active = materials.filter(({ state }) => state === 'Active');
    const known = this.#keys.get(record.keyId);
    try {
      const backingKeys = new Map(
        active.map((each) => [each.backingKeyId, this.#inUse.of(each, known?.backingKeys.get(each.backingKeyId))]),
      );
      const currentId = record.currentBackingKeyId;
      const currentMaterial = materials.find(({ backingKeyId }) => backingKeyId === currentId);
      const key = this.#expiry.watched({
        record,
        state: record.state,
        arn: keyArn(this.realm, record.keyId),
        idDigits: digitsOfKeyId(record.keyId),
        policyRecord,
        policy:
          known?.policyRecord.document === policyRecord.document
            ? known.policy
            : this.#policies.get(policyRecord.document),
        backingKeys,
        materials,
        currentMaterial,
        currentBackingKey: currentId === null ? undefined : backingKeys.get(currentId),
      });
      return watchedOver(key, this.customKeyStores);
    } catch (error) {
      return String(error);
    }
  }
}
