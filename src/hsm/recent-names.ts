/**
 * The names of what went last: as many as there is room for, and the oldest makes room for the next one.
 *
 * Of a name 32 bits are kept, in arrays of numbers: a hundred thousand of them are nothing to whoever collects objects, where a list of texts
 * is gone through again and again, and has each text outlive the request that brought it. One of 100,000 others is taken for another that is
 * here once in 40,000 times, and is kept then as one that came back.
 */

/** In place of a number of a node. */
const none = -1;

export class RecentNames {
  readonly #max: number;
  /** Absent until there is one: most are never asked for any. */
  #nodes: Nodes | undefined;

  /** @param max One at least. */
  constructor(max: number) {
    this.#max = max;
  }

  has(name: string): boolean {
    return this.#nodes?.has(hashOf(name)) === true;
  }

  /** From now on it is the newest one. */
  add(name: string): void {
    this.#nodes ??= new Nodes(this.#max);
    this.#nodes.add(hashOf(name));
  }

  /** Was it there? */
  delete(name: string): boolean {
    return this.#nodes?.delete(hashOf(name)) === true;
  }

  clear(): void {
    this.#nodes = undefined;
  }
}

/** A list in which each knows its neighbours, and an open table of where in it a hash is. */
class Nodes {
  readonly #hashes: Int32Array;
  readonly #before: Int32Array;
  /** Of those that are free: the next one that is. */
  readonly #after: Int32Array;
  /** A number of a node and one more; 0 for none. There are a power of two. */
  readonly #table: Int32Array;
  #first = none;
  #last = none;
  #free = 0;

  constructor(max: number) {
    this.#hashes = new Int32Array(max);
    this.#before = new Int32Array(max);
    this.#after = Int32Array.from({ length: max }, (_, node) => (node + 1 < max ? node + 1 : none));
    let places = 2;
    while (places < 2 * max) places *= 2;
    this.#table = new Int32Array(places);
  }

  has(hash: number): boolean {
    return this.#table[this.#placeOf(hash)] !== 0;
  }

  add(hash: number): void {
    this.delete(hash);
    if (this.#free === none) this.delete(this.#hashes[this.#first] as number);
    const node = this.#free;
    this.#free = this.#after[node] as number;
    this.#hashes[node] = hash;
    this.#before[node] = this.#last;
    this.#after[node] = none;
    if (this.#last === none) this.#first = node;
    else this.#after[this.#last] = node;
    this.#last = node;
    this.#table[this.#placeOf(hash)] = node + 1;
  }

  delete(hash: number): boolean {
    const place = this.#placeOf(hash);
    const node = (this.#table[place] as number) - 1;
    if (node < 0) return false;
    this.#emptyAt(place);
    const [before, after] = [this.#before[node] as number, this.#after[node] as number];
    if (before === none) this.#first = after;
    else this.#after[before] = after;
    if (after === none) this.#last = before;
    else this.#before[after] = before;
    this.#after[node] = this.#free;
    this.#free = node;
    return true;
  }

  /** Where in the table it is, or would be. */
  #placeOf(hash: number): number {
    const mask = this.#table.length - 1;
    for (let place = hash & mask; ; place = (place + 1) & mask) {
      const node = (this.#table[place] as number) - 1;
      if (node < 0 || this.#hashes[node] === hash) return place;
    }
  }

  /** What stands behind it moves up, so that a search never ends before what it is for. */
  #emptyAt(place: number): void {
    const mask = this.#table.length - 1;
    let hole = place;
    for (let next = (hole + 1) & mask; this.#table[next] !== 0; next = (next + 1) & mask) {
      const home = (this.#hashes[(this.#table[next] as number) - 1] as number) & mask;
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      this.#table[hole] = this.#table[next] as number;
      hole = next;
    }
    this.#table[hole] = 0;
  }
}

/** FNV-1a, mixed once more, since its lowest bits alone say where to look. */
function hashOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
  return Math.imul(hash ^ (hash >>> 15), 0x9e3779b1) | 0;
}
