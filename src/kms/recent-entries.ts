/**
 * What was used lately, by name: as many entries as it is given room for, and whatever was not used while that many others came is
 * forgotten.
 *
 * Two generations instead of an order: an entry that is used moves to the younger one, and when that is half of all, the older one
 * goes. Nothing costs more than a look into two maps, however many there are.
 */
export class RecentEntries<Entry> {
  readonly #perGeneration: number;
  #younger = new Map<string, Entry>();
  #older = new Map<string, Entry>();

  /** @param maxEntries An even number. */
  constructor(maxEntries: number) {
    this.#perGeneration = maxEntries / 2;
  }

  get(name: string): Entry | undefined {
    const young = this.#younger.get(name);
    if (young !== undefined) return young;
    const old = this.#older.get(name);
    if (old !== undefined) this.set(name, old);
    return old;
  }

  set(name: string, entry: Entry): void {
    if (this.#younger.size >= this.#perGeneration) {
      this.#older = this.#younger;
      this.#younger = new Map();
    }
    this.#younger.set(name, entry);
  }

  get size(): number {
    return this.#younger.size + this.#older.size;
  }
}
