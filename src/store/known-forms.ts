/**
 * Which records are known to be genuine and in force: a set of hashes of their canonical forms.
 *
 * A record that is read again long after it was verified was verified then, if its form is in here, and costs no call to the HSM. What
 * takes its place puts the new form in here and takes the former one out, so a row that somebody puts back past us is not known.
 *
 * A hash has 96 bits and is keyed with what nobody else knows and no other start has: whoever edits a row hits one of 2^23 known
 * forms with a probability of 2^-73. The set is one array, 12 bytes a place, since objects would take some 100 for each record.
 */

import { hash, randomBytes } from 'node:crypto';

const wordsPerPlace = 3;
const smallest = 1024;

export class KnownForms {
  readonly #key = randomBytes(32);
  #words: Uint32Array;
  #places: number;
  #size = 0;

  /** @param expected How many there will be: it grows beyond, which takes a moment each time. */
  constructor(expected = 0) {
    this.#places = placesFor(expected);
    this.#words = new Uint32Array(this.#places * wordsPerPlace);
  }

  get size(): number {
    return this.#size;
  }

  /** @param form The canonical form of a record, which says its kind and its id. */
  hashOf(form: Buffer): Buffer {
    // Of one length before, so what follows it cannot be taken for a part of the key.
    return hash('sha256', Buffer.concat([this.#key, form]), 'buffer');
  }

  has(hashed: Buffer): boolean {
    return this.#words[this.#find(hashed) * wordsPerPlace] !== 0;
  }

  add(hashed: Buffer): void {
    if ((this.#size + 1) * 4 > this.#places * 3) this.#grow();
    const at = this.#find(hashed) * wordsPerPlace;
    if (this.#words[at] !== 0) return;
    this.#words[at] = firstWord(hashed);
    this.#words[at + 1] = hashed.readUInt32LE(4);
    this.#words[at + 2] = hashed.readUInt32LE(8);
    this.#size++;
  }

  /** What stands behind it moves up, so that a search never ends before what it is for. */
  delete(hashed: Buffer): void {
    let hole = this.#find(hashed);
    if (this.#words[hole * wordsPerPlace] === 0) return;
    this.#size--;
    for (let at = this.#after(hole); this.#words[at * wordsPerPlace] !== 0; at = this.#after(at)) {
      const home = this.#homeOf(this.#words[at * wordsPerPlace] as number);
      const isBehindHole = hole <= at ? home <= hole || home > at : home <= hole && home > at;
      if (!isBehindHole) continue;
      this.#words.copyWithin(hole * wordsPerPlace, at * wordsPerPlace, (at + 1) * wordsPerPlace);
      hole = at;
    }
    this.#words.fill(0, hole * wordsPerPlace, (hole + 1) * wordsPerPlace);
  }

  /** Its place, or the free one where it would be. */
  #find(hashed: Buffer): number {
    const [first, second, third] = [firstWord(hashed), hashed.readUInt32LE(4), hashed.readUInt32LE(8)];
    const words = this.#words;
    for (let at = this.#homeOf(first); ; at = this.#after(at)) {
      const word = words[at * wordsPerPlace];
      if (word === 0) return at;
      if (word === first && words[at * wordsPerPlace + 1] === second && words[at * wordsPerPlace + 2] === third)
        return at;
    }
  }

  /** There are a power of two of places. */
  #homeOf(first: number): number {
    return first & (this.#places - 1);
  }

  #after(at: number): number {
    return (at + 1) & (this.#places - 1);
  }

  #grow(): void {
    const former = this.#words;
    this.#places *= 2;
    this.#words = new Uint32Array(this.#places * wordsPerPlace);
    for (let at = 0; at < former.length; at += wordsPerPlace) {
      const first = former[at] as number;
      if (first === 0) continue;
      let place = this.#homeOf(first);
      while (this.#words[place * wordsPerPlace] !== 0) place = this.#after(place);
      this.#words.set(former.subarray(at, at + wordsPerPlace), place * wordsPerPlace);
    }
  }
}

/** A free place has 0 there. */
function firstWord(hashed: Buffer): number {
  return hashed.readUInt32LE(0) || 1;
}

function placesFor(expected: number): number {
  let places = smallest;
  while (places * 3 < expected * 4) places *= 2;
  return places;
}
