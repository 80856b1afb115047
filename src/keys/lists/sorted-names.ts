/**
 * Names in order, for lists that are read a page at a time while others change them.
 *
 * A page begins after the last name of the page before, so names that come or go in between neither shift nor repeat the
 * others; that last name itself may be gone.
 */

export interface Page<Name> {
  readonly names: readonly Name[];
  /** Is there more after the last of `names`? */
  readonly truncated: boolean;
}

export class SortedNames<Name extends string> {
  readonly #names: Name[] = [];

  get size(): number {
    return this.#names.length;
  }

  add(name: Name): void {
    const at = this.#firstNotBelow(name);
    if (this.#names[at] !== name) this.#names.splice(at, 0, name);
  }

  remove(name: Name): void {
    const at = this.#firstNotBelow(name);
    if (this.#names[at] === name) this.#names.splice(at, 1);
  }

  /**
   * Up to `limit` names behind `after`, of those that `isWanted`.
   * @param after The last name of the page before; `undefined` for the first page.
   */
  page(after: string | undefined, limit: number, isWanted: (name: Name) => boolean = () => true): Page<Name> {
    const names: Name[] = [];
    let at = after === undefined ? 0 : this.#firstNotBelow(after);
    if (after !== undefined && this.#names[at] === after) at++;
    for (; at < this.#names.length; at++) {
      const name = this.#names[at];
      if (name === undefined || !isWanted(name)) continue;
      if (names.length === limit) return { names, truncated: true };
      names.push(name);
    }
    return { names, truncated: false };
  }

  /** The index of the first name that is not before `name`: a binary search. */
  #firstNotBelow(name: string): number {
    let low = 0;
    let high = this.#names.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const candidate = this.#names[middle];
      if (candidate !== undefined && candidate < name) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
