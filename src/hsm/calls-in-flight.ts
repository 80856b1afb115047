/** How many calls of a key store were begun and have not ended, prompt ones apart, and who waits until there are none. */

export class CallsInFlight {
  #prompt = 0;
  #others = 0;
  #whenNone: (() => void) | undefined;

  get count(): number {
    return this.#prompt + this.#others;
  }

  /** Of the prompt calls or of the others: neither is refused for the number of the other. */
  countOf(isPrompt: boolean): number {
    return isPrompt ? this.#prompt : this.#others;
  }

  begin(isPrompt: boolean): void {
    if (isPrompt) this.#prompt++;
    else this.#others++;
  }

  end(isPrompt: boolean): void {
    if (isPrompt) this.#prompt--;
    else this.#others--;
    if (this.count === 0) this.#whenNone?.();
  }

  /** Resolves when nothing is in flight, or after that long. */
  none(atMostMs: number): Promise<void> {
    if (this.count === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, atMostMs);
      this.#whenNone = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
