/**
 * The KMS keys of one Region that were deleted, or are being: a part of the fold over the records that `key-directory.ts` is.
 *
 * A tombstone is put when the destruction of a key begins, and never removed. INVARIANT: from then on the key goes one way; its
 * deletion is not cancelled, its id is not given to another key, and a record of it that is found again is not used.
 */

import type { KeyId } from '../kms/names.ts';
import type { TombstoneRecord } from '../store/records/records.ts';

export class Tombstones {
  readonly #keyIds = new Set<KeyId>();

  has(keyId: KeyId): boolean {
    return this.#keyIds.has(keyId);
  }

  /** Takes a tombstone that is in the store. */
  show({ keyId }: Pick<TombstoneRecord, 'keyId'>): void {
    this.#keyIds.add(keyId);
  }
}
