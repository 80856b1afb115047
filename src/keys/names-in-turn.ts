/**
 * One after the other, of those that are about one name: whoever comes while another one is at it sees what became of that.
 *
 * Nothing else is promised: what is decided is decided in a turn (`store/turns.ts`), as ever.
 */

export class NamesInTurn {
  /** Until when the last one that came is at it. */
  readonly #last = new Map<string, Promise<void>>();

  /** @returns What ends it; to be called once, whatever happens. */
  async enter(name: string): Promise<() => void> {
    const former = this.#last.get(name);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last.set(name, promise);
    await former;
    return () => {
      if (this.#last.get(name) === promise) this.#last.delete(name);
      resolve();
    };
  }
}
