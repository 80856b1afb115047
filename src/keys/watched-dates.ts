/**
 * The dates of one kind that keys of a Region have, deletions or expiries, in order, with when each was first seen: what is destroyed then
 * is judged by what both clocks said at that time (`daemon/upkeep/`).
 *
 * All are in memory, also where keys are read on demand: of all keys, few are to be destroyed.
 */

import type { KeyId } from '../kms/names.ts';
import type { ClockReading } from './expiry-watch.ts';
import { type DateRange, DatesInOrder } from './lists/dates-in-order.ts';

export interface WatchedDate<Id extends string = string> {
  /** Of the key, or of its material. */
  readonly id: Id;
  readonly keyId: KeyId;
  readonly dateMs: number;
  /** When it was put on record, or loaded. */
  readonly seen: ClockReading;
}

export class WatchedDates<Id extends string> {
  readonly #byId = new Map<Id, WatchedDate<Id>>();
  readonly #inOrder = new DatesInOrder<WatchedDate<Id>>({ dateMsOf: ({ dateMs }) => dateMs, nameOf: ({ id }) => id });

  /** What was loaded. */
  take(dates: Iterable<WatchedDate<Id>>): void {
    for (const date of dates) this.#byId.set(date.id, date);
    this.#inOrder.take(this.#byId.values());
  }

  /** One that has this date already was seen before. */
  put(date: WatchedDate<Id>): void {
    if (this.#byId.get(date.id)?.dateMs === date.dateMs) return;
    this.remove(date.id);
    this.#byId.set(date.id, date);
    this.#inOrder.add(date);
  }

  remove(id: Id): void {
    const date = this.#byId.get(id);
    if (date === undefined) return;
    this.#byId.delete(id);
    this.#inOrder.remove(date);
  }

  /** So many whose date is after one and by another, soonest first. */
  between(range: DateRange, limit: number): readonly WatchedDate<Id>[] {
    return this.#inOrder.between(range, limit);
  }

  count(): number {
    return this.#inOrder.size;
  }

  of(id: Id): WatchedDate<Id> | undefined {
    return this.#byId.get(id);
  }
}
