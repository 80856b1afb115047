/**
 * Names in order, for lists that are read a page at a time while others change them.
 *
 * A page begins after the last name of the page before, so names that come or go in between neither shift nor repeat the
 * others; that last name itself may be gone.
 */

import { firstIndex } from './first-index.ts';

export interface Page<Name> {
  readonly names: readonly Name[];
  /** Is there more after the last of `names`? */
  readonly truncated: boolean;
}

/** A list of names in order, wherever they are. */
export interface NameList<Name extends string> {
  /**
   * Up to `limit` names behind `after`.
   * @param after The last name of the page before; `undefined` for the first page.
   */
  page(after: string | undefined, limit: number): Page<Name>;
}

export class SortedNames<Name extends string> implements NameList<Name> {
  readonly #names: Name[] = [];

  get size(): number {
    return this.#names.length;
  }

  add(name: Name): void {
    const last = this.#names.at(-1);
    // As all are at a start, which puts them in order first.
    if (last === undefined || last < name) {
      this.#names.push(name);
      return;
    }
    const at = this.#firstNotBelow(name);
    if (this.#names[at] !== name) this.#names.splice(at, 0, name);
  }

  remove(name: Name): void {
    const at = this.#firstNotBelow(name);
    if (this.#names[at] === name) this.#names.splice(at, 1);
  }

  page(after: string | undefined, limit: number): Page<Name> {
    let at = after === undefined ? 0 : this.#firstNotBelow(after);
    if (after !== undefined && this.#names[at] === after) at++;
    return { names: this.#names.slice(at, at + limit), truncated: at + limit < this.#names.length };
  }

  #firstNotBelow(name: string): number {
    return firstIndex(this.#names, (candidate) => candidate >= name);
  }
}

/** Records, by the name that a list has of them. */
export function inOrder<Name extends string, Named extends Readonly<Record<Name, string>>>(
  records: readonly Named[],
  name: Name,
): readonly Named[] {
  return [...records].sort((one, other) => (one[name] < other[name] ? -1 : 1));
}
