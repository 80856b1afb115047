/**
 * Does synchronous work of many callers on the thread that serves everybody, a slice at a time.
 *
 * Pieces that came with one turn of the event loop would be done in that turn, one after the other: 128 verifications of
 * P-521 stop everything else for 0.2 s, and a request of somebody else takes several such turns (an Encrypt 4.7 s,
 * measured). Here a turn gets pieces for `sliceMs` and no more; input, output and all others come between two slices.
 *
 * The queue is not bounded here: what waits in it is a request, and the wire bounds how many of those are in flight.
 */

/** A piece that was begun is finished, so a slice is this and the longest piece at most. */
const sliceMs = 1;

export class SlicedWork {
  readonly #waiting: (() => void)[] = [];
  #isDue = false;

  /** Does `work` when its turn comes, in the order in which they came; what it returns or throws is that of the promise. */
  run<T>(work: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(() => {
        try {
          resolve(work());
        } catch (error) {
          reject(error);
        }
      });
      this.#arrangeSlice();
    });
  }

  #arrangeSlice(): void {
    if (this.#isDue || this.#waiting.length === 0) return;
    this.#isDue = true;
    setImmediate(this.#slice);
  }

  readonly #slice = (): void => {
    this.#isDue = false;
    const endsAtMs = performance.now() + sliceMs;
    do this.#waiting.shift()?.();
    while (this.#waiting.length > 0 && performance.now() < endsAtMs);
    this.#arrangeSlice();
  };
}
