/**
 * What is on record of each key id: the part of the fold that only files. What the records of a key come together to is
 * `key-directory.ts`'s to say.
 */

import type { BackingKeyId, KeyId } from '../kms/names.ts';
import type { MaterialPage, WrappedOtherwise } from '../store/record-source.ts';
import type { BackingKeyRecord, KeyPolicyRecord, KeyRecord } from '../store/records/records.ts';

/** What is on record of one key id. */
export interface KeyRecords {
  key: KeyRecord | undefined;
  policy: KeyPolicyRecord | undefined;
  readonly backingKeys: Map<BackingKeyId, BackingKeyRecord>;
}

/** Material, and how the key that it belongs to got it. */
export interface FiledMaterial {
  readonly record: BackingKeyRecord;
  readonly origin: KeyRecord['origin'] | undefined;
}

/** The same as it was read. */
export interface ReadKey {
  readonly key: KeyRecord;
  readonly policy: KeyPolicyRecord | undefined;
  readonly backingKeys: readonly BackingKeyRecord[];
}

/** Of one key store. */
interface MaterialIds {
  /** In its token, or being made or destroyed there: what is looked for when it is connected. */
  readonly inToken: Set<BackingKeyId>;
  /** All other. */
  readonly wrapped: Set<BackingKeyId>;
}

const nothing: MaterialIds = { inToken: new Set(), wrapped: new Set() };

/** How far somebody has gone through all keys, page by page: what is filed meanwhile comes last, as an iterator of a `Map` has it. */
interface Pass {
  readonly keys: Iterator<KeyRecords, undefined>;
  /** So many are behind. */
  at: number;
}

/** Gone through for one page: some milliseconds. */
const keysOfPage = 4_096;

/** Each method that files or drops a record gives the id of the key that it belongs to. */
export class RecordsOfKeys {
  readonly #byKeyId = new Map<KeyId, KeyRecords>();
  readonly #keyOfBackingKey = new Map<BackingKeyId, KeyId>();
  /** What there is in each key store; absent where that is read elsewhere. */
  #byKeyStore: Map<string, MaterialIds> | undefined = new Map();
  /** By the key store that is gone through. */
  readonly #passes = new Map<string, Pass>();

  /** From now on what is filed here is some of all, and what there is in a key store is read from where all is. To be told before anything is filed. */
  fileSome(): void {
    this.#byKeyStore = undefined;
  }

  of(keyId: KeyId): KeyRecords | undefined {
    return this.#byKeyId.get(keyId);
  }

  findMaterial(backingKeyId: BackingKeyId): FiledMaterial | undefined {
    const keyId = this.#keyOfBackingKey.get(backingKeyId);
    const records = keyId === undefined ? undefined : this.#byKeyId.get(keyId);
    const record = records?.backingKeys.get(backingKeyId);
    return record === undefined ? undefined : { record, origin: records?.key?.origin };
  }

  /** As `RecordSource.materialsIn`, of the one Region that is filed here. */
  *materialsIn(keyStore: string): Iterable<BackingKeyRecord> {
    const { inToken, wrapped } = this.#byKeyStore?.get(keyStore) ?? nothing;
    const [oneWrapped] = wrapped;
    for (const backingKeyId of [...inToken, ...(oneWrapped === undefined ? [] : [oneWrapped])]) {
      const found = this.findMaterial(backingKeyId);
      if (found !== undefined) yield found.record;
    }
  }

  /** As `RecordSource.wrappedOtherwise`, of the one Region that is filed here. */
  wrappedOtherwise({ keyStore, domainKeyId }: WrappedOtherwise, begin: bigint, limit: number): MaterialPage {
    const from = Number(begin);
    const pass = this.#passAt(keyStore, from);
    const records: BackingKeyRecord[] = [];
    for (const endAt = from + keysOfPage; pass.at < endAt && records.length < limit; pass.at++) {
      const { value, done } = pass.keys.next();
      if (done) {
        this.#passes.delete(keyStore);
        return { records, next: null };
      }
      for (const record of value.backingKeys.values()) {
        const isOther = record.keyStore === keyStore && record.domainKeyId !== domainKeyId;
        if (isOther && record.state === 'Active' && record.wrappedKey !== null) records.push(record);
      }
    }
    return { records, next: BigInt(pass.at) };
  }

  /** The one that got so far. Where there is none it is gone through from the beginning, and what was deleted since is missed. */
  #passAt(keyStore: string, from: number): Pass {
    const last = this.#passes.get(keyStore);
    if (last?.at === from) return last;
    const pass = { keys: this.#byKeyId.values(), at: 0 };
    while (pass.at < from && pass.keys.next().done !== true) pass.at++;
    this.#passes.set(keyStore, pass);
    return pass;
  }

  file({ key, policy, backingKeys }: ReadKey): void {
    this.fileKey(key);
    if (policy !== undefined) this.filePolicy(policy);
    for (const record of backingKeys) this.fileBackingKey(record);
  }

  fileKey(record: KeyRecord): KeyId {
    this.#filed(record.keyId).key = record;
    return record.keyId;
  }

  filePolicy(record: KeyPolicyRecord): KeyId {
    this.#filed(record.keyId).policy = record;
    return record.keyId;
  }

  fileBackingKey(record: BackingKeyRecord): KeyId {
    const { keyId, backingKeyId, residency, state } = record;
    const { backingKeys } = this.#filed(keyId);
    this.#unlist(backingKeys.get(backingKeyId));
    backingKeys.set(backingKeyId, record);
    this.#keyOfBackingKey.set(backingKeyId, keyId);
    if (this.#byKeyStore === undefined) return keyId;
    const { inToken, wrapped } = listOf(this.#byKeyStore, record.keyStore);
    (residency === 'wrapped' && state === 'Active' ? wrapped : inToken).add(backingKeyId);
    return keyId;
  }

  #unlist(record: BackingKeyRecord | undefined): void {
    const list = record && this.#byKeyStore?.get(record.keyStore);
    if (record === undefined || list === undefined) return;
    list.inToken.delete(record.backingKeyId);
    list.wrapped.delete(record.backingKeyId);
    if (list.inToken.size + list.wrapped.size === 0) this.#byKeyStore?.delete(record.keyStore);
  }

  dropKey(keyId: KeyId): KeyId {
    this.#filed(keyId).key = undefined;
    return keyId;
  }

  dropPolicy(keyId: KeyId): KeyId {
    this.#filed(keyId).policy = undefined;
    return keyId;
  }

  dropBackingKey({ keyId, backingKeyId }: BackingKeyRecord): KeyId {
    const { backingKeys } = this.#filed(keyId);
    this.#unlist(backingKeys.get(backingKeyId));
    backingKeys.delete(backingKeyId);
    this.#keyOfBackingKey.delete(backingKeyId);
    return keyId;
  }

  has(keyId: KeyId): boolean {
    return this.#byKeyId.has(keyId);
  }

  /** Puts a key out of memory. */
  forget(keyId: KeyId): void {
    for (const record of this.#byKeyId.get(keyId)?.backingKeys.values() ?? []) {
      this.#unlist(record);
      this.#keyOfBackingKey.delete(record.backingKeyId);
    }
    this.#byKeyId.delete(keyId);
  }

  /** Where nothing is on record of an id any more. */
  forgetEmpty(keyId: KeyId): void {
    const records = this.#byKeyId.get(keyId);
    const isEmpty = records?.key === undefined && records?.policy === undefined && records?.backingKeys.size === 0;
    if (isEmpty) this.#byKeyId.delete(keyId);
  }

  #filed(keyId: KeyId): KeyRecords {
    let records = this.#byKeyId.get(keyId);
    if (records === undefined) {
      records = { key: undefined, policy: undefined, backingKeys: new Map() };
      this.#byKeyId.set(keyId, records);
    }
    return records;
  }
}

function listOf(byKeyStore: Map<string, MaterialIds>, keyStore: string): MaterialIds {
  let list = byKeyStore.get(keyStore);
  if (list === undefined) {
    list = { inToken: new Set(), wrapped: new Set() };
    byKeyStore.set(keyStore, list);
  }
  return list;
}
