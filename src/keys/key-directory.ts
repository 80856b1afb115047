/**
 * All KMS keys, aliases and grants of one Region: a fold over the records.
 *
 * They are in memory: `take` has what was loaded, and from then on `apply` is the one way in which anything in here becomes different,
 * with changes that are on disk already. Where there are too many, `take` has a source, and what is not in memory is read from it
 * when it is asked for (`keys-on-demand.ts`). Who decides on changes and writes them is `store/turns.ts`; who may, is the pipeline's
 * business; the life of a key in the HSM is that of `life/`.
 *
 * A record that did not verify is quarantined by the store. A key that lost one of its records to quarantine is not in the directory but
 * damaged: whoever names it gets `KMSInternalException`, since an answer from half of a key's records could allow what the other forbids.
 */

import type { CompiledPolicy } from '../authorization/language/compiled-policy.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { defaultBudgets } from '../kms/budgets.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import { type BackingKeyId, type KeyId, keyIdsOfDigits, parseKeyId, type Realm } from '../kms/names.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import type { QuarantinedRecord } from '../store/quarantined-record.ts';
import type { RecordSource } from '../store/record-source.ts';
import type { Change } from '../store/records/changes.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';
import type { Fold } from '../store/turns.ts';
import { AliasDirectory } from './alias-directory.ts';
import { type AssemblyParts, assembledKey } from './assembled-key.ts';
import { CompiledPolicies } from './compiled-policies.ts';
import { type CustomKeyStoreSource, noCustomKeyStores } from './custom-key-store.ts';
import { DamagedKeys, keyThatLacks } from './damaged-keys.ts';
import { defaultEncryptionLimits } from './encryption-counter.ts';
import { ExpiryWatch, machineExpiryClocks } from './expiry-watch.ts';
import { type FoldedRecords, fileKeys, fileNamed, foldPut, foldRemoval, keyMadeOf } from './folded-records.ts';
import { Grants } from './grants/grant-directory.ts';
import type { GrantTokens } from './grants/grant-tokens.ts';
import type { KeyBudgets, KeysOfRegionOptions } from './key-directory-options.ts';
import { internalMessage } from './key-store-errors.ts';
import { KeyStoresOfRegion, noDomains } from './key-stores-of-region.ts';
import { KeysOnDemand } from './keys-on-demand.ts';
import type { KmsKey } from './kms-key.ts';
import { LastUses } from './last-uses.ts';
import { type NameList, SortedNames } from './lists/sorted-names.ts';
import { ManagedServices } from './managed-services.ts';
import { MaterialInUse } from './material-in-use.ts';
import { RecordMemory } from './record-memory.ts';
import { type FiledMaterial, type KeyRecords, RecordsOfKeys } from './records-of-keys.ts';
import { isOfRegion, namesRegion, recordsElsewhere } from './regions-of-material.ts';
import { isBeingDestroyed, Tombstones } from './tombstones.ts';
import { WatchedKeys, type WatchedKeysOfRegion } from './watched-keys.ts';

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
  readonly keyStores: KeyStoresOfRegion;
  readonly #inUse: MaterialInUse;
  readonly #expiry: ExpiryWatch;
  readonly #records = new RecordsOfKeys();
  readonly #folds: Omit<FoldedRecords, 'touched'>;
  readonly #keys = new Map<KeyId, KmsKey>();
  readonly memory: RecordMemory;
  readonly #damaged = new DamagedKeys();
  readonly #watched: WatchedKeys;
  #numbersRunOut: (keyId: KeyId, backingKeyId: BackingKeyId) => void = () => undefined;
  readonly #assembly: AssemblyParts;
  readonly #names = new SortedNames<KeyId>();
  /** Absent while all keys are in memory. */
  #onDemand: KeysOnDemand | undefined;

  constructor(options: KeyDirectoryOptions, grantTokens: GrantTokens) {
    this.realm = options.realm;
    this.regions = (options.regions ?? new Map<string, KeyDirectory>()).set(options.realm.region, this);
    this.log = options.log;
    this.compilePolicy = options.compilePolicy;
    this.defaultKeyStore = options.defaultKeyStore;
    this.budgets = options.budgets ?? defaultBudgets;
    this.grants = new Grants(grantTokens, this.budgets.quotas);
    this.services = new ManagedServices(options.realm);
    this.customKeyStores = options.customKeyStores ?? noCustomKeyStores;
    const { aliases, grants, tombstones, customKeyStores, realm } = this;
    this.memory = new RecordMemory({ records: this.onRecord, aliases, grants, tombstones }, this.budgets.memory);
    this.lastUses = new LastUses({ ...options, hasKey: (keyId) => this.#isThere(keyId) });
    this.#folds = { records: this.#records, aliases, grants, tombstones, lastUses: this.lastUses };
    const { domains = noDomains, expiryClocks = machineExpiryClocks } = options;
    this.keyStores = new KeyStoresOfRegion({ ...options, region: realm.region, customKeyStores, domains });
    this.#inUse = new MaterialInUse({
      turns: options.turns,
      limits: options.encryptionLimits ?? defaultEncryptionLimits,
      startNumbers: options.startNumbers,
      log: options.log,
      keyStores: this.keyStores,
      inMemory: () => this.#keys.values(),
      find: (backingKeyId) => this.#findMaterial(backingKeyId),
      elsewhere: (material) => recordsElsewhere(this.regions, material),
      numbersRunOut: (keyId, backingKeyId) => this.#numbersRunOut(keyId, backingKeyId),
    });
    this.#expiry = new ExpiryWatch(expiryClocks);
    this.#watched = new WatchedKeys(expiryClocks);
    const policies = new CompiledPolicies(options.compilePolicy, this.budgets.memory.compiledPolicyBytes);
    const { keyStores } = this;
    this.#assembly = { realm, inUse: this.#inUse, expiry: this.#expiry, policies, customKeyStores, keyStores };
  }

  /** In order, for the list operation. */
  get keyIds(): NameList<KeyId> {
    return this.#onDemand ?? this.#names;
  }

  /** The first of those with a record that cannot be used, as far as they were read. */
  damagedKeyIds(count: number): readonly KeyId[] {
    return this.#damaged.first(count);
  }

  /** How many KMS keys there are, are to be deleted, and cannot be used because a record did not verify. */
  counts(): Readonly<Record<'keys' | 'pendingDeletion' | 'pendingReplicaDeletion' | 'damaged' | 'aliases', number>> {
    return { keys: this.#size, ...this.#watched.pending, damaged: this.#damaged.size, aliases: this.aliases.size };
  }

  get #size(): number {
    return this.#onDemand?.count ?? this.#keys.size;
  }

  /** @throws KmsError `LimitExceededException` when there are as many keys as there can be. */
  assertRoomForKey(): void {
    const [keys, size] = [this.budgets.quotas.keys, this.#size];
    const message = `Key quota for this account in this region is ${keys} but the current usage is ${size}.`;
    if (size >= keys) throw new KmsError('LimitExceededException', message);
  }

  /**
   * @returns The key, or `undefined` when there is none.
   * @throws KmsError `KMSInternalException` when the key's records did not verify.
   */
  findKey(keyId: KeyId): KmsKey | undefined {
    const key = this.findSoundKey(keyId);
    if (key === undefined && this.#damaged.has(keyId)) {
      throw new KmsError('KMSInternalException', internalMessage, `the records of key ${keyId} did not verify`);
    }
    return key;
  }

  /** As `findKey`, and `undefined` for one whose records did not verify: for whoever tells of several keys. */
  findSoundKey(keyId: KeyId): KmsKey | undefined {
    const key = this.#keys.get(keyId);
    if (this.#onDemand === undefined || (key !== undefined && this.#onDemand.isKept(keyId))) return key;
    this.#bringIntoMemory(keyId, this.#onDemand);
    return this.#keys.get(keyId);
  }

  #recordsOf(keyId: KeyId): KeyRecords | undefined {
    if (this.#onDemand !== undefined) this.#bringIntoMemory(keyId, this.#onDemand);
    return this.#records.of(keyId);
  }

  #bringIntoMemory(keyId: KeyId, onDemand: KeysOnDemand): void {
    if (!this.#records.has(keyId)) {
      const read = this.#damaged.has(keyId) ? undefined : onDemand.read(keyId);
      if (read === undefined || this.#isOfDeletedKey(read.key, read.backingKeys)) return;
      this.#records.file(read);
      if (!read.hasGrants) this.grants.hasNone(keyId);
      this.#derive(keyId);
    }
    const other = onDemand.asked(keyId);
    if (other !== undefined) this.#putOut(other);
  }

  #putOut(keyId: KeyId): void {
    this.#onDemand?.forget(keyId);
    this.#records.forget(keyId);
    this.#assembly.policies.left(this.#keys.get(keyId)?.policy);
    this.#keys.delete(keyId);
    this.grants.forgetNone(keyId);
  }

  /** For whoever goes through all keys: what is read of these for it does not stay in memory. */
  async passing<Result>(keyIds: readonly KeyId[], use: () => Promise<Result>): Promise<Result> {
    const read = this.#onDemand === undefined ? [] : keyIds.filter((keyId) => !this.#records.has(keyId));
    try {
      return await use();
    } finally {
      for (const keyId of read) this.#putOut(keyId);
    }
  }

  #isThere(keyId: KeyId): boolean {
    return this.#keys.has(keyId) || this.#onDemand?.source.has('key', { region: this.realm.region, keyId }) === true;
  }

  #findMaterial(backingKeyId: BackingKeyId): FiledMaterial | undefined {
    const records = this.#onDemand?.source.select('backingKey', { backingKeyId }) ?? [];
    const read = records.find((record) => namesRegion(record, this.realm.region));
    if (read !== undefined) this.#recordsOf(read.keyId);
    return this.#records.findMaterial(backingKeyId);
  }

  /** What is on record of a key's material, also of what is being made. */
  materialRecords(keyId: KeyId): readonly BackingKeyRecord[] {
    return [...(this.#recordsOf(keyId)?.backingKeys.values() ?? [])];
  }

  /** What is on record, for whoever compares it with an HSM. */
  get onRecord(): Pick<RecordsOfKeys, 'of' | 'materialsIn' | 'findMaterial' | 'wrappedOtherwise'> {
    return {
      of: (keyId) => this.#recordsOf(keyId),
      materialsIn: (name) => (this.#onDemand?.source ?? this.#records).materialsIn(name),
      findMaterial: (backingKeyId) => this.#findMaterial(backingKeyId),
      wrappedOtherwise: (...which) => (this.#onDemand?.source ?? this.#records).wrappedOtherwise(...which),
    };
  }

  /** Is there a record of a backing key of this id? */
  namesMaterial(backingKeyId: string): boolean {
    const isFiled = this.#records.findMaterial(backingKeyId as BackingKeyId) !== undefined; // Safe: of another text there is none.
    return isFiled || this.source?.has('backingKey', { backingKeyId }) === true;
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

  /** All keys, in no order. Where they are not in memory it takes as long as to read them. */
  *all(): Iterable<KmsKey> {
    if (this.#onDemand === undefined) return yield* this.#keys.values();
    for (const keyId of this.#onDemand.all()) {
      const key = this.findSoundKey(keyId);
      if (key !== undefined) yield key;
    }
  }

  /** Those that something may be due of, by their dates. */
  get watchedKeys(): WatchedKeysOfRegion {
    return this.#watched;
  }

  /** At a start, of one of those that was not loaded: reads it. */
  readWatched(keyId: KeyId): void {
    this.#watched.see(this.findSoundKey(keyId)?.materials ?? []);
  }

  /** Where keys are read that are not in memory; absent while all are. */
  get source(): RecordSource | undefined {
    return this.#onDemand?.source;
  }

  /** Is there, or was there, anything of this id? */
  knows(keyId: KeyId): boolean {
    if (this.#damaged.has(keyId) || this.tombstones.has(keyId)) return true;
    return this.#records.has(keyId) || this.#onDemand?.has(keyId) === true;
  }

  /** As `KeyStoresOfRegion.named`. */
  keyStore(name: string): KeyStore {
    return this.keyStores.named(name);
  }

  /** Who is told of a key and its backing key when the last numbers of that one are being used. One listener, `life/`. */
  whenNumbersRunOut(listener: (keyId: KeyId, backingKeyId: BackingKeyId) => void): void {
    this.#numbersRunOut = listener;
  }

  /**
   * Takes what the store loaded; called once, with the unfinished creations already undone.
   * @param source Where the rest is read when it is asked for; absent: there is no rest.
   */
  take(loaded: LoadedMetadata, source?: RecordSource): void {
    for (const { kind, id, region } of loaded.quarantined) {
      const keyId = kind === 'key' && this.#isOurs({ region }) ? parseKeyId(id) : undefined;
      if (keyId !== undefined) this.#damaged.refuse(keyId);
    }
    for (const record of loaded.tombstone) if (this.#isOurs(record)) this.tombstones.show(record);
    this.#watched.take(loaded, { region: this.realm.region, isAll: source === undefined });
    if (source !== undefined) {
      this.#readFrom(source);
      return;
    }
    const touched = new Set<KeyId>();
    const ours = { isOurs: (record: object) => this.#isOurs(record), ...this.#folds, touched };
    fileKeys(loaded, ours);
    for (const keyId of touched) this.#derive(keyId);
    this.lastUses.take(loaded);
    this.memory.take(loaded, this.realm.region);
    fileNamed(loaded, ours);
  }

  #readFrom(records: RecordSource): void {
    const { region } = this.realm;
    const { keysInMemory } = this.budgets.memory;
    this.#records.fileSome();
    this.#onDemand = new KeysOnDemand(records, { region, maxKeys: keysInMemory, damaged: this.#damaged });
    const isDeleted = (keyId: KeyId): boolean =>
      this.tombstones.has(keyId) && this.#recordsOf(keyId)?.key === undefined;
    this.aliases.readFrom({ records, region, maxKept: keysInMemory, isDeleted });
    this.grants.readFrom({ records, region, maxKept: keysInMemory });
    this.lastUses.readFrom(records);
    this.memory.readOnDemand();
    records.whenRefused((record) => this.#tellOfRefused(record));
  }

  #tellOfRefused(record: QuarantinedRecord): void {
    const { kind, id, region, reason } = record;
    const keyId = keyThatLacks(record);
    if (region === null ? keyId === undefined || !this.#isThere(keyId) : !this.#isOurs({ region })) return;
    if (keyId !== undefined) this.#damaged.refuse(keyId);
    this.log.error({ kind, id, reason }, 'a record does not verify and is not used');
  }

  /** Of changes that are about to be written. */
  foresee(changes: readonly Change[]): void {
    if (this.#onDemand === undefined) return;
    for (const change of changes) if (this.#isOurs(change.record)) this.memory.foresee(change);
  }

  /** INVARIANT: memory is the fold of all changes; nothing but this and `take` makes anything in here different. */
  apply(changes: readonly Change[]): void {
    const touched = new Set<KeyId>();
    this.#inUse.follow(changes.filter(({ record }) => this.#isOurs(record)));
    for (const change of changes) this.#applyOne(change, touched);
    for (const keyId of touched) this.#derive(keyId);
  }

  #applyOne(change: Change, touched: Set<KeyId>): void {
    if (!this.#isOurs(change.record)) return;
    this.memory.follow(change);
    this.#watched.follow(change);
    this.#onDemand?.follow(change);
    if (this.#isOutOfMemory(change)) return;
    const folds = { ...this.#folds, touched };
    if (!('put' in change)) foldRemoval(change, folds);
    else if (!this.#isOfDeletedKey(change.record)) foldPut(change, folds);
  }

  /** Then it is read from where it was written. */
  #isOutOfMemory(change: Change): boolean {
    const keyId = keyMadeOf(change);
    return this.#onDemand !== undefined && keyId !== undefined && !this.#records.has(keyId);
  }

  /** What the store finds in the way of a change may be a row that somebody put back. */
  #isOfDeletedKey(record: Change['record'], materials?: readonly BackingKeyRecord[]): boolean {
    if (!('region' in record && 'keyId' in record)) return false;
    const { keyId } = record;
    const isKnown = materials === undefined ? this.#records.of(keyId)?.key : isBeingDestroyed(record, materials);
    if (!this.tombstones.has(keyId) || isKnown) return false;
    this.log.error({ keyId }, 'a record of a KMS key that was deleted is in the database again');
    return true;
  }

  #isOurs(record: object): boolean {
    return isOfRegion(record, this.realm.region);
  }

  /** Makes the KMS key that its records say, or finds that they say none. */
  #derive(keyId: KeyId): void {
    const records = this.#records.of(keyId);
    const former = this.#keys.get(keyId);
    const key = records === undefined ? undefined : assembledKey(records, former, this.#assembly);
    if (key === undefined) {
      this.#inUse.endOthers(former, undefined);
      this.#keys.delete(keyId);
      this.#names.remove(keyId);
      this.#damaged.mend(keyId);
      this.#records.forgetEmpty(keyId);
      return;
    }
    this.#inUse.endOthers(former, typeof key === 'string' ? undefined : key);
    if (typeof key === 'string') {
      this.#damaged.add(keyId);
      this.#keys.delete(keyId);
      this.#names.remove(keyId);
      this.log.error({ keyId, problem: key }, 'a KMS key is refused because its records cannot be used');
      return;
    }
    this.#damaged.mend(keyId);
    if (this.#onDemand === undefined && !this.#keys.has(keyId)) this.#names.add(keyId);
    this.#keys.set(keyId, key);
  }
}
