/**
 * The KMS keys of one Region that were deleted, or are being: a part of the fold over the records that `key-directory.ts` is.
 *
 * A tombstone is put when the destruction of a key begins, and never removed, but for a replica that is made anew in its Region.
 * INVARIANT: from then on the key goes one way; its deletion is not cancelled, its id is not given to another key, and a record of
 * it that is found again is not used.
 *
 * The deletion of a key whose material was wrapped is final against copies of the metadata from before only when the domain keys are gone
 * that it was wrapped under.
 */

import type { KeyId } from '../kms/names.ts';
import type { BackingKeyRecord, TombstoneRecord } from '../store/records/records.ts';

export class Tombstones {
  readonly #byKeyId = new Map<KeyId, TombstoneRecord>();
  /** How many there are of each list of domain keys: few lists, however many keys were deleted. */
  readonly #countByDomainKeys = new Map<string, number>();

  has(keyId: KeyId): boolean {
    return this.#byKeyId.has(keyId);
  }

  find(keyId: KeyId): TombstoneRecord | undefined {
    return this.#byKeyId.get(keyId);
  }

  /** Of how many deleted keys is a domain key still there? */
  countOf(isThere: (domainKeyId: string) => boolean): number {
    let count = 0;
    for (const [ids, keys] of this.#countByDomainKeys) if (ids !== '' && ids.split(' ').some(isThere)) count += keys;
    return count;
  }

  /** Takes a tombstone that is in the store. */
  show(record: TombstoneRecord): void {
    this.hide(record.keyId);
    this.#byKeyId.set(record.keyId, record);
    this.#count(record, 1);
  }

  hide(keyId: KeyId): void {
    const record = this.#byKeyId.get(keyId);
    if (record === undefined) return;
    this.#byKeyId.delete(keyId);
    this.#count(record, -1);
  }

  #count({ domainKeyIds }: TombstoneRecord, by: 1 | -1): void {
    const count = (this.#countByDomainKeys.get(domainKeyIds) ?? 0) + by;
    if (count > 0) this.#countByDomainKeys.set(domainKeyIds, count);
    else this.#countByDomainKeys.delete(domainKeyIds);
  }
}

/** A key whose destruction has begun is there until it is done, with nothing that could be used. */
export function isBeingDestroyed(record: object, materials: readonly Pick<BackingKeyRecord, 'state'>[]): boolean {
  if (!('state' in record) || record.state !== 'PendingDeletion') return false;
  return !materials.some(({ state }) => state === 'Active');
}
