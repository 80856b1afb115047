/**
 * The signatures of one signer, in the order of their first coming, each found in constant time.
 *
 * A ring of numbers, with a table of open addresses beside it (linear probing; what is removed is filled up from behind, so that
 * nothing is left to be searched through): 32 bytes for a signature, outside of JavaScript's heap, where a `Map` of objects takes
 * 300, and its removed entries are searched through each time that its oldest is asked for. Room is made as it is needed.
 *
 * Where a signature stands in the table depends on numbers that nobody knows: a signer chooses among the signatures that he makes.
 *
 * Source: Knuth, "The Art of Computer Programming", volume 3, section 6.4, algorithms L and R.
 */

import { getRandomValues } from 'node:crypto';

const firstCapacity = 16;
const twoTo32 = 2 ** 32;

export class SignatureRing {
  readonly #multipliers = getRandomValues(new Uint32Array(2));
  #prints = new Float64Array(firstCapacity);
  #signedAtMs = new Float64Array(firstCapacity);
  #firstSeenMs = new Float64Array(firstCapacity);
  /** Of twice the capacity: places in the ring, counted from 1; 0 where there is none. */
  #table = new Int32Array(firstCapacity * 2);
  /** Leaves as many bits as the table has places for. */
  #shift = 32 - Math.log2(firstCapacity * 2);
  #oldest = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Of the one that came first. */
  get oldestSignedAtMs(): number {
    return this.#signedAtMs[this.#oldest] ?? 0;
  }

  get oldestFirstSeenMs(): number {
    return this.#firstSeenMs[this.#oldest] ?? 0;
  }

  /**
   * When it came first; `undefined` for one that is not there.
   * @param print A whole number below 2^53.
   */
  firstSeenMs(print: number): number | undefined {
    const place = this.#table[this.#find(print)] ?? 0;
    return place === 0 ? undefined : this.#firstSeenMs[place - 1];
  }

  /** It is not there yet. */
  add(print: number, signedAtMs: number, firstSeenMs: number): void {
    if (this.#size === this.#prints.length) this.#resize(this.#size * 2);
    this.#put(print, signedAtMs, firstSeenMs);
  }

  removeOldest(): void {
    this.#clear(this.#find(this.#prints[this.#oldest] ?? 0));
    this.#oldest = (this.#oldest + 1) & (this.#prints.length - 1);
    this.#size--;
    if (this.#size === 0 && this.#prints.length > firstCapacity) this.#resize(firstCapacity);
  }

  #put(print: number, signedAtMs: number, firstSeenMs: number): void {
    const place = (this.#oldest + this.#size) & (this.#prints.length - 1);
    this.#prints[place] = print;
    this.#signedAtMs[place] = signedAtMs;
    this.#firstSeenMs[place] = firstSeenMs;
    this.#table[this.#find(print)] = place + 1;
    this.#size++;
  }

  /** Where it stands in the table, or where it would. */
  #find(print: number): number {
    const mask = this.#table.length - 1;
    let at = this.#home(print);
    for (;;) {
      const place = this.#table[at] ?? 0;
      if (place === 0 || this.#prints[place - 1] === print) return at;
      at = (at + 1) & mask;
    }
  }

  #home(print: number): number {
    const [a = 0, b = 0] = this.#multipliers;
    const high = Math.floor(print / twoTo32);
    const mixed = Math.imul((print % twoTo32) | 0, a | 1) + Math.imul(high, b | 1);
    // The upper bits depend on all of them.
    return mixed >>> this.#shift;
  }

  #clear(from: number): void {
    const mask = this.#table.length - 1;
    let hole = from;
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const place = this.#table[at] ?? 0;
      if (place === 0) break;
      const home = this.#home(this.#prints[place - 1] ?? 0);
      // It may be no further ahead than its home.
      const isBehindHole = ((at - home) & mask) >= ((at - hole) & mask);
      if (!isBehindHole) continue;
      this.#table[hole] = place;
      hole = at;
    }
    this.#table[hole] = 0;
  }

  /** @param capacity A power of two. */
  #resize(capacity: number): void {
    const [prints, signedAtMs, firstSeenMs] = [this.#prints, this.#signedAtMs, this.#firstSeenMs];
    const [oldest, size] = [this.#oldest, this.#size];
    this.#prints = new Float64Array(capacity);
    this.#signedAtMs = new Float64Array(capacity);
    this.#firstSeenMs = new Float64Array(capacity);
    this.#table = new Int32Array(capacity * 2);
    this.#shift = 32 - Math.log2(capacity * 2);
    this.#oldest = 0;
    this.#size = 0;
    for (let index = 0; index < size; index++) {
      const place = (oldest + index) & (prints.length - 1);
      this.#put(prints[place] ?? 0, signedAtMs[place] ?? 0, firstSeenMs[place] ?? 0);
    }
  }
}
