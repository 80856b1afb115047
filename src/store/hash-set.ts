/**
 * A set of what looks random, by its first 96 bits: one array, 12 bytes a place, since objects would take some 100 for each.
 *
 * Two things of 2^23 that are in it and one that is not are taken for the same with a probability of 2^-73.
 */

const wordsPerPlace = 3;
const smallest = 1024;
/** A free place has 0 as its first word. */
const freeInstead = 1;

export class HashSet {
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

  /** Of each the first three words, 32 bits in little-endian order: whoever has a text makes no bytes of it for a look. */
  has(first: number, second: number, third: number): boolean {
    return this.#words[this.#find(first, second, third) * wordsPerPlace] !== 0;
  }

  /** @param hashed One behind the other. @param bytes Of each. */
  addAll(hashed: Buffer, bytes: number): void {
    const view = new DataView(hashed.buffer, hashed.byteOffset, hashed.length);
    for (let at = 0; at < hashed.length; at += bytes)
      this.add(view.getUint32(at, true), view.getUint32(at + 4, true), view.getUint32(at + 8, true));
  }

  add(first: number, second: number, third: number): void {
    if ((this.#size + 1) * 4 > this.#places * 3) this.#grow();
    const at = this.#find(first, second, third) * wordsPerPlace;
    if (this.#words[at] !== 0) return;
    this.#words[at] = first || freeInstead;
    this.#words[at + 1] = second;
    this.#words[at + 2] = third;
    this.#size++;
  }

  /** What stands behind it moves up, so that a search never ends before what it is for. */
  delete(first: number, second: number, third: number): void {
    let hole = this.#find(first, second, third);
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
  #find(firstWord: number, second: number, third: number): number {
    const words = this.#words;
    const first = firstWord || freeInstead;
    for (let at = this.#homeOf(first); ; at = this.#after(at)) {
      const word = words[at * wordsPerPlace];
      if (word === 0) return at;
      if (word === first && words[at * wordsPerPlace + 1] === second && words[at * wordsPerPlace + 2] === third)
        return at;
    }
  }

  /** As far through the places as its first word is through all words. */
  #homeOf(first: number): number {
    return Math.floor((first / 2 ** 32) * this.#places);
  }

  #after(at: number): number {
    return at + 1 === this.#places ? 0 : at + 1;
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
      for (let word = 0; word < wordsPerPlace; word++)
        this.#words[place * wordsPerPlace + word] = former[at + word] as number;
    }
  }
}

/** Some more than it takes, so that it does not grow with the next one. */
function placesFor(expected: number): number {
  return Math.max(smallest, Math.ceil(expected * 1.6));
}
