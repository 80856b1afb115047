/**
 * Lets a few pieces of work run at once and the others wait for their turn, in the order in which they came.
 *
 * The queue is not bounded here: what waits in it is a request, and the wire bounds how many of those are in flight.
 */

export class BoundedWork {
  readonly #maxAtOnce: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(maxAtOnce: number) {
    this.#maxAtOnce = maxAtOnce;
  }

  /** Runs `work` when its turn comes; its outcome is that of the promise. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#maxAtOnce) this.#running++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      // The place goes to the next in line, or is given back.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
