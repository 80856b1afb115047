/**
 * A map of bounded size: what was used least recently makes room for what is new.
 *
 * For what can be made anew at any time, such as the parsed form of a key. Whoever keeps something that has to be freed is told
 * when it goes; what he got from `get` before is not valid any more once he adds something.
 */

export class RecentlyUsed<Key, Value> {
  readonly #maxCount: number;
  readonly #gone: (value: Value) => void;
  /** In the order of their last use. */
  readonly #values = new Map<Key, Value>();
  /** The last in that order: to use it again changes nothing, and mostly the same one is used again. */
  #last: { readonly key: Key; readonly value: Value } | undefined;

  /** @param gone Is told of each value that made room for another. */
  constructor(maxCount: number, gone: (value: Value) => void = () => undefined) {
    this.#maxCount = maxCount;
    this.#gone = gone;
  }

  get(key: Key): Value | undefined {
    if (this.#last?.key === key) return this.#last.value;
    const value = this.#values.get(key);
    if (value === undefined) return undefined;
    this.#values.delete(key);
    this.#values.set(key, value);
    this.#last = { key, value };
    return value;
  }

  /** Keeps the value of a key that has none. */
  add(key: Key, value: Value): void {
    const [oldest] = this.#values.size < this.#maxCount ? [] : this.#values;
    if (oldest !== undefined) {
      this.#values.delete(oldest[0]);
      this.#gone(oldest[1]);
    }
    this.#values.set(key, value);
    this.#last = { key, value };
  }
}
