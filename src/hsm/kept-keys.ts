/**
 * Which of the wrapped keys that it meets a lane keeps unwrapped: decided alike in the host, which keeps them, and in the API process,
 * which by that knows where a key is unwrapped already (`lane-choice.ts`). Both see the uses of a lane in one order, so they come to the
 * same; where they do not, because a call failed or a key was forgotten, a key is unwrapped once more than it had to be.
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
 */

/** Session objects live in the memory of the library or of the device: a named limit instead of a surprise. In each lane. */
export const maxUnwrappedKeys = 1024;

/** As few as keep warm, and as many as a request after another of the same key is behind it. */
const maxVisitors = 32;

/** So many more names than residents: keys that are too many for one lane are known when they come back to be divided among two. */
const namesPerResident = 2;

/**
 * What comes first in a queue. Each time it is asked it goes on from where it was, so whoever asks takes out what he is told. A new search from the
 * beginning would pass all places that were emptied since the queue was last moved together, hundreds each time.
 */
class Front<Item> {
  readonly #queue: Iterable<Item>;
  #items: Iterator<Item>;

  constructor(queue: Iterable<Item>) {
    this.#queue = queue;
    this.#items = queue[Symbol.iterator]();
  }

  take(): Item | undefined {
    let next = this.#items.next();
    if (next.done) {
      // It had come to the end; what is there now came later.
      this.#items = this.#queue[Symbol.iterator]();
      next = this.#items.next();
    }
    return next.done ? undefined : next.value;
  }
}

interface Kept<Value> {
  readonly value: Value;
  wasUsed: boolean;
}

export class KeptKeys<Value> {
  readonly #maxResidents: number;
  readonly #maxVisitors: number;
  readonly #residents = new Map<string, Kept<Value>>();
  readonly #visitors = new Map<string, Kept<Value>>();
  readonly #namesGone = new Set<string>();
  readonly #firstResident = new Front(this.#residents);
  readonly #firstVisitor = new Front(this.#visitors);
  readonly #firstNameGone = new Front(this.#namesGone);

  /** @param max So many are kept, one at least. */
  constructor(max = maxUnwrappedKeys) {
    this.#maxVisitors = Math.min(maxVisitors, Math.floor(max / 4));
    this.#maxResidents = max - this.#maxVisitors;
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
    if (this.hasRoom || this.#namesGone.delete(name) || this.#maxVisitors === 0) return this.#settle(name, kept);
    this.#visitors.set(name, kept);
    if (this.#visitors.size <= this.#maxVisitors) return undefined;
    const first = this.#firstVisitor.take();
    if (first === undefined) return undefined;
    const [oldest, left] = first;
    this.#visitors.delete(oldest);
    if (left.wasUsed) return this.#settle(oldest, { value: left.value, wasUsed: false });
    this.#remember(oldest);
    return left.value;
  }

  /** @returns What was kept of it. Of one that went before, the name stays: whoever keeps it anew drops first what may be there. */
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
    this.#residents.set(name, kept);
    return gone;
  }

  #leastUsed(): Value | undefined {
    for (let first = this.#firstResident.take(); first !== undefined; first = this.#firstResident.take()) {
      const [name, kept] = first;
      this.#residents.delete(name);
      if (!kept.wasUsed) return kept.value;
      kept.wasUsed = false;
      this.#residents.set(name, kept);
    }
    return undefined;
  }

  #remember(name: string): void {
    this.#namesGone.add(name);
    if (this.#namesGone.size <= namesPerResident * this.#maxResidents) return;
    const oldest = this.#firstNameGone.take();
    if (oldest !== undefined) this.#namesGone.delete(oldest);
  }
}
