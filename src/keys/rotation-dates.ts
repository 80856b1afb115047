/**
 * When the keys of one Region are to be rotated, in order, where all of them are in memory: as `store/rotation-index.ts` finds it in the
 * file, but of records that were verified, so that a row that somebody edits under a running daemon puts no rotation off.
 */

import type { KeyId } from '../kms/names.ts';
import type { KeyRecord } from '../store/records/records.ts';
import type { RotationDate } from '../store/rotation-index.ts';

export class RotationDates {
  readonly #byKeyId = new Map<KeyId, RotationDate>();
  /** Of enabled keys, soonest first. */
  #inOrder: RotationDate[] = [];

  /** What was loaded: one sort, and no search for each. */
  take(records: Iterable<KeyRecord>): void {
    for (const record of records) {
      const date = dateOf(record);
      if (date !== undefined) this.#byKeyId.set(date.keyId, date);
    }
    this.#inOrder = [...this.#byKeyId.values()].filter(({ isEnabled }) => isEnabled).sort(inTime);
  }

  put(record: KeyRecord): void {
    this.remove(record.keyId);
    const date = dateOf(record);
    if (date === undefined) return;
    this.#byKeyId.set(date.keyId, date);
    if (date.isEnabled) this.#inOrder.splice(this.#firstNotBefore(date), 0, date);
  }

  remove(keyId: KeyId): void {
    const date = this.#byKeyId.get(keyId);
    if (date === undefined) return;
    this.#byKeyId.delete(keyId);
    if (date.isEnabled) this.#inOrder.splice(this.#firstNotBefore(date), 1);
  }

  /** So many enabled keys whose date is after one and by another, soonest first. */
  between({ afterMs, untilMs }: { readonly afterMs: number; readonly untilMs: number }, limit: number) {
    const found: RotationDate[] = [];
    for (let at = this.#firstWhere((date) => date.nextRotationDateMs > afterMs); found.length < limit; at++) {
      const date = this.#inOrder[at];
      if (date === undefined || date.nextRotationDateMs > untilMs) break;
      found.push(date);
    }
    return found;
  }

  /** How many enabled keys have a date. */
  count(): number {
    return this.#inOrder.length;
  }

  of(keyId: KeyId): RotationDate | undefined {
    return this.#byKeyId.get(keyId);
  }

  #firstNotBefore(date: RotationDate): number {
    return this.#firstWhere((other) => inTime(other, date) >= 0);
  }

  /** @param is Of none before the first one, and of all after it. */
  #firstWhere(is: (date: RotationDate) => boolean): number {
    let [low, high] = [0, this.#inOrder.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const date = this.#inOrder[middle];
      if (date !== undefined && is(date)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function dateOf({ keyId, nextRotationDateMs, state }: KeyRecord): RotationDate | undefined {
  return nextRotationDateMs === null ? undefined : { keyId, nextRotationDateMs, isEnabled: state === 'Enabled' };
}

/** Two keys may have one date. */
function inTime(one: RotationDate, other: RotationDate): number {
  const passedMs = one.nextRotationDateMs - other.nextRotationDateMs;
  return passedMs !== 0 ? passedMs : one.keyId < other.keyId ? -1 : Number(one.keyId > other.keyId);
}
