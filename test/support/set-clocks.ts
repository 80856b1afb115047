/** Clocks for upkeep that a test sets, and that tell it when upkeep has nothing more to do at the time that they show. */

import type { Clocks, Reading } from '../../src/daemon/upkeep/clocks.ts';

/** Upkeep looks again so soon after records changed; what sleeps for longer waits for a time. */
const soonMs = 1_000;
const maxRounds = 20;

export class SetClocks implements Clocks {
  #reading: Reading;
  /** What upkeep sleeps until; `undefined` while it is awake. */
  #sleeping: { readonly delayMs: number; readonly run: () => void } | undefined;
  #fellAsleep = Promise.withResolvers<void>();

  constructor(reading: Reading = { wallMs: Date.now(), bootMs: 1_000_000 }) {
    this.#reading = reading;
  }

  now(): Reading {
    return this.#reading;
  }

  after(delayMs: number, run: () => void): () => void {
    const sleeping = { delayMs, run };
    this.#sleeping = sleeping;
    this.#fellAsleep.resolve();
    return () => {
      if (this.#sleeping === sleeping) this.#wakeUp();
    };
  }

  /** Time passes, by both clocks. Resolves when upkeep has done what is due by then. */
  async pass(ms: number): Promise<void> {
    this.#reading = { wallMs: this.#reading.wallMs + ms, bootMs: this.#reading.bootMs + ms };
    await this.settled();
  }

  /** Somebody sets the wall clock, forward or back by so much. */
  async setWall(byMs: number): Promise<void> {
    this.#reading = { ...this.#reading, wallMs: this.#reading.wallMs + byMs };
    await this.settled();
  }

  /** Between two runs: nothing runs that could be waited for. */
  jump({ wallMs = 0, bootMs = 0 }: Partial<Reading>): void {
    this.#reading = { wallMs: this.#reading.wallMs + wallMs, bootMs: this.#reading.bootMs + bootMs };
    this.#wakeUp();
  }

  /** Has upkeep look at the clocks, until it sleeps for a time that has not come. */
  async settled(): Promise<void> {
    for (let round = 0; round < maxRounds; round++) {
      await this.#fellAsleep.promise;
      const sleeping = this.#sleeping;
      if (sleeping === undefined) continue;
      if (round > 0 && sleeping.delayMs > soonMs) return;
      this.#wakeUp();
      sleeping.run();
    }
  }

  #wakeUp(): void {
    this.#sleeping = undefined;
    this.#fellAsleep = Promise.withResolvers<void>();
  }
}
