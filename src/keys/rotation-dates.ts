/**
 * When the keys of one Region are to be rotated, in order, where all of them are in memory: as `store/rotation-index.ts` finds it in the
 * file, but of records that were verified, so that a row that somebody edits under a running daemon puts no rotation off.
 */

import type { KeyId } from '../kms/names.ts';
import type { KeyRecord } from '../store/records/records.ts';
import type { RotationDate } from '../store/rotation-index.ts';
import { type DateRange, DatesInOrder } from './lists/dates-in-order.ts';

export class RotationDates {
  readonly #byKeyId = new Map<KeyId, RotationDate>();
  /** Of enabled keys. */
  readonly #inOrder = new DatesInOrder<RotationDate>({
    dateMsOf: ({ nextRotationDateMs }) => nextRotationDateMs,
    nameOf: ({ keyId }) => keyId,
  });

  /** What was loaded. */
  take(records: Iterable<KeyRecord>): void {
    for (const record of records) {
      const date = dateOf(record);
      if (date !== undefined) this.#byKeyId.set(date.keyId, date);
    }
    this.#inOrder.take([...this.#byKeyId.values()].filter(({ isEnabled }) => isEnabled));
  }

  put(record: KeyRecord): void {
    this.remove(record.keyId);
    const date = dateOf(record);
    if (date === undefined) return;
    this.#byKeyId.set(date.keyId, date);
    if (date.isEnabled) this.#inOrder.add(date);
  }

  remove(keyId: KeyId): void {
    const date = this.#byKeyId.get(keyId);
    if (date === undefined) return;
    this.#byKeyId.delete(keyId);
    if (date.isEnabled) this.#inOrder.remove(date);
  }

  /** So many enabled keys whose date is after one and by another, soonest first. */
  between(range: DateRange, limit: number): readonly RotationDate[] {
    return this.#inOrder.between(range, limit);
  }

  /** How many enabled keys have a date. */
  count(): number {
    return this.#inOrder.size;
  }

  of(keyId: KeyId): RotationDate | undefined {
    return this.#byKeyId.get(keyId);
  }
}

function dateOf({ keyId, nextRotationDateMs, state }: KeyRecord): RotationDate | undefined {
  return nextRotationDateMs === null ? undefined : { keyId, nextRotationDateMs, isEnabled: state === 'Enabled' };
}
