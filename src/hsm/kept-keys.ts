/**
 * Which of the wrapped keys that it meets a lane keeps unwrapped: decided alike in the host, which keeps them, and in the API process,
 * which by that knows where a key is unwrapped already (`lane-choice.ts`). Both see the uses of a lane in one order, so they come to the
 * same; where they do not, because a call failed or a session was lost, a key is unwrapped once more than it had to be.
 * The records of keys that are in memory are kept by the same rule (`keys/keys-on-demand.ts`).
 *
 * Whoever goes through more keys than are kept must not have those forgotten that others use all the time. So there are three queues,
 * first in, first out (S3-FIFO: J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023):
 *
 * - *residents*: almost all room is theirs. When it is needed, one goes that was not used since it was last considered.
 * - *visitors*: where a key begins when residents have filled their room. One that is used again before its turn comes becomes a
 *   resident, the others go: while their memory is still warm, and in the place of one another.
 * - *names* of visitors that went: one that comes back while its name is here becomes a resident at once. So as many keys as there is
 *   room for are all kept the second time that somebody goes through them.
 *
 * What is cheap to have again is a visitor first even where there is room (`fillsAtOnce`): what is asked for once leaves nothing behind.
 */

import { RecentNames } from './recent-names.ts';

/** Session objects live in the memory of the library or of the device: a named limit instead of a surprise. In each lane. */
export const maxUnwrappedKeys = 1024;

/** As few as keep warm, and as many as a request after another of the same key is behind it. */
const maxVisitors = 32;

/** So many more names than residents: keys that are too many for one lane are known when they come back to be divided among two. */
const namesPerResident = 2;

interface Place<Item> {
  readonly name: string;
  readonly item: Item;
  before: Place<Item> | undefined;
  after: Place<Item> | undefined;
}

/**
 * Items by their names, first in, first out. Each place knows its neighbours, because a `Map` has no quick way to what is first in it: it
 * passes all that was deleted before, and an iterator that stays where it was keeps every table that the `Map` has left since.
 */
class Queue<Item> {
  readonly #places = new Map<string, Place<Item>>();
  #first: Place<Item> | undefined;
  #last: Place<Item> | undefined;

  get size(): number {
    return this.#places.size;
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  get(name: string): Item | undefined {
    return this.#places.get(name)?.item;
  }

  /** One that is not there. */
  add(name: string, item: Item): void {
    const place: Place<Item> = { name, item, before: this.#last, after: undefined };
    if (this.#last === undefined) this.#first = place;
    else this.#last.after = place;
    this.#last = place;
    this.#places.set(name, place);
  }

  delete(name: string): boolean {
    const place = this.#places.get(name);
    if (place === undefined) return false;
    const { before, after } = place;
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    // What is collected seldom keeps what it leads to until then: one place after the other would become old before it can go.
    place.before = undefined;
    place.after = undefined;
    return this.#places.delete(name);
  }

  takeFirst(): { readonly name: string; readonly item: Item } | undefined {
    const first = this.#first;
    if (first !== undefined) this.delete(first.name);
    return first;
  }

  clear(): void {
    this.#places.clear();
    this.#first = undefined;
    this.#last = undefined;
  }
}

interface Kept<Value> {
  readonly value: Value;
  wasUsed: boolean;
}

export class KeptKeys<Value> {
  readonly #maxResidents: number;
  readonly #maxVisitors: number;
  readonly #residents = new Queue<Kept<Value>>();
  readonly #visitors = new Queue<Kept<Value>>();
  readonly #namesGone: RecentNames;
  readonly #fillsAtOnce: boolean;

  /**
   * @param max So many are kept, one at least.
   * @param fillsAtOnce Is what is kept the first time a resident while there is room?
   */
  constructor(max = maxUnwrappedKeys, { fillsAtOnce = true } = {}) {
    this.#maxVisitors = Math.min(maxVisitors, Math.floor(max / 4));
    this.#maxResidents = max - this.#maxVisitors;
    this.#namesGone = new RecentNames(namesPerResident * this.#maxResidents);
    this.#fillsAtOnce = fillsAtOnce;
  }

  get count(): number {
    return this.#residents.size + this.#visitors.size;
  }

  /** Does a new key take nothing from another one? */
  get hasRoom(): boolean {
    return this.#residents.size < this.#maxResidents;
  }

  has(name: string): boolean {
    return this.#residents.has(name) || this.#visitors.has(name);
  }

  /** Is it there, or was it not long ago? One that was becomes a resident when it is kept. */
  knows(name: string): boolean {
    return this.has(name) || this.#namesGone.has(name);
  }

  get(name: string): Value | undefined {
    return this.#find(name)?.value;
  }

  /** The same, and it is used. */
  use(name: string): Value | undefined {
    const kept = this.#find(name);
    if (kept === undefined) return undefined;
    kept.wasUsed = true;
    return kept.value;
  }

  /**
   * Keeps one that is not there.
   * @returns What goes in its place; there is not always one.
   */
  keep(name: string, value: Value): Value | undefined {
    const kept = { value, wasUsed: false };
    const settles = (this.#fillsAtOnce && this.hasRoom) || this.#namesGone.delete(name) || this.#maxVisitors === 0;
    if (settles) return this.#settle(name, kept);
    this.#visitors.add(name, kept);
    const oldest = this.#visitors.size > this.#maxVisitors ? this.#visitors.takeFirst() : undefined;
    if (oldest === undefined) return undefined;
    const { name: itsName, item: left } = oldest;
    if (left.wasUsed) return this.#settle(itsName, { value: left.value, wasUsed: false });
    this.#namesGone.add(itsName);
    return left.value;
  }

  /** @returns What was kept of it. Of one that went before, the name stays. */
  drop(name: string): Value | undefined {
    const kept = this.#find(name);
    if (kept === undefined) return undefined;
    this.#residents.delete(name);
    this.#visitors.delete(name);
    return kept.value;
  }

  clear(): void {
    this.#residents.clear();
    this.#visitors.clear();
    this.#namesGone.clear();
  }

  #find(name: string): Kept<Value> | undefined {
    return this.#residents.get(name) ?? this.#visitors.get(name);
  }

  #settle(name: string, kept: Kept<Value>): Value | undefined {
    const gone = this.hasRoom ? undefined : this.#leastUsed();
    this.#residents.add(name, kept);
    return gone;
  }

  #leastUsed(): Value | undefined {
    for (let first = this.#residents.takeFirst(); first !== undefined; first = this.#residents.takeFirst()) {
      const { name, item } = first;
      if (!item.wasUsed) return item.value;
      item.wasUsed = false;
      this.#residents.add(name, item);
    }
    return undefined;
  }
}
