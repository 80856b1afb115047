/**
 * Of all keys of one Region, those that something may be due of, so that upkeep and the status need not go through the others: a
 * part of the fold over the records that `key-directory.ts` is.
 *
 * Rotations are found by their dates: here while all keys are in memory, and otherwise in the file (`store/rotation-index.ts`).
 */

import type { KeyId } from '../kms/names.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import type { Change } from '../store/records/changes.ts';
import type { KeyRecord } from '../store/records/records.ts';
import { RotationDates } from './rotation-dates.ts';

export class WatchedKeys {
  readonly #watched = new Set<KeyId>();
  readonly #pendingDeletion = new Set<KeyId>();
  #rotations: RotationDates | undefined;

  get pendingDeletion(): number {
    return this.#pendingDeletion.size;
  }

  /** Those that something may be due of, a deletion or an expiry, and others. */
  ids(): readonly KeyId[] {
    return [...this.#watched];
  }

  /** Absent where not all keys are in memory. */
  get rotations(): Pick<RotationDates, 'between' | 'count' | 'of'> | undefined {
    return this.#rotations;
  }

  /** @param isAll It was loaded of all keys, and not only of those that something may be due of. */
  take(loaded: Pick<LoadedMetadata, 'key'>, { region, isAll }: { readonly region: string; readonly isAll: boolean }) {
    const records = loaded.key.filter((record) => record.region === region);
    for (const record of records) this.#watch(record);
    if (!isAll) return;
    this.#rotations = new RotationDates();
    this.#rotations.take(records);
  }

  #watch({ keyId, state, origin }: KeyRecord): void {
    const isInUse = state === 'Enabled' || state === 'Disabled';
    mark(this.#watched, keyId, !isInUse || origin === 'EXTERNAL');
    mark(this.#pendingDeletion, keyId, state === 'PendingDeletion');
  }

  /** A change of this Region that is on disk. */
  follow(change: Change): void {
    if ('put' in change) {
      if (change.put !== 'key') return;
      this.#watch(change.record);
      this.#rotations?.put(change.record);
    } else if (change.remove === 'key') {
      this.#watched.delete(change.record.keyId);
      this.#pendingDeletion.delete(change.record.keyId);
      this.#rotations?.remove(change.record.keyId);
    }
  }
}

function mark<Value>(set: Set<Value>, value: Value, isIn: boolean): void {
  if (isIn) set.add(value);
  else set.delete(value);
}
