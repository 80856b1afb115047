/**
 * How long a member takes to answer, and which of its calls are overdue: one that hangs fails its calls only at their deadline, and others
 * could have answered them long before.
 */

import { learnt } from '../call-costs.ts';
import type { CallName } from '../calls.ts';

/** HSMs that work have pauses (a library that collects garbage, a network that lost a packet), and none is as long. */
const overdueMs = 1_000;
/** That many times what calls of the kind took lately: one key is as slow as ten others, and queues grow while one waits in them. */
const overdueFactor = 10;

export class Punctuality {
  readonly #usualMs = new Map<CallName, number>();
  readonly #becameOverdue: () => void;
  #overdue = 0;

  /** @param becameOverdue Called when it has an overdue call and had none. */
  constructor(becameOverdue: () => void) {
    this.#becameOverdue = becameOverdue;
  }

  /** Has it calls that it should have answered long since? */
  get isOverdue(): boolean {
    return this.#overdue > 0;
  }

  /**
   * Follows a call that was just made to its end. Resolves when it has ended, `false`, or is overdue, `true`; never rejects.
   * @param saysHung Does the member count as overdue with it?
   */
  follow(name: CallName, call: Promise<unknown>, { saysHung }: { readonly saysHung: boolean }): Promise<boolean> {
    const beganMs = performance.now();
    const { promise, resolve } = Promise.withResolvers<boolean>();
    let isOverdue = false;
    const afterMs = Math.max(overdueMs, (this.#usualMs.get(name) ?? 0) * overdueFactor);
    const timer = setTimeout(() => {
      isOverdue = saysHung;
      if (saysHung && ++this.#overdue === 1) this.#becameOverdue();
      resolve(true);
    }, afterMs);
    const end = (): void => {
      clearTimeout(timer);
      if (isOverdue) this.#overdue--;
      resolve(false);
    };
    call.then(() => {
      // Of one that was overdue no more than that: a few that hung would have the next one waited for as long as they took.
      const tookMs = Math.min(performance.now() - beganMs, afterMs);
      this.#usualMs.set(name, learnt(this.#usualMs.get(name) ?? 0, tookMs));
      end();
    }, end);
    return promise;
  }
}
