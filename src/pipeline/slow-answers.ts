/**
 * Answers that are held back: those of whoever is over his budgets.
 *
 * To refuse at once is cheap and not free: reading a request and writing an answer takes longer than deciding nothing, and who
 * floods sends the next request as soon as he has the answer to the last one. So what is refused for being too much is
 * answered at a bounded rate, of all payers together, in turn. Clients that mean no harm wait before they try again anyway.
 * How many wait is bounded by the requests that a connection may have unanswered, and by the connections that a payer may have.
 */

import type { Payer } from '../kms/payer.ts';

/** With the next line, 2,000 a second: some tenth of one processor's time. */
const pauseMs = 10;
const answersEachPause = 20;
/** So many that are gone are dropped together. */
const maxGone = 2048;

/** Those before `next` are gone: a long list is not moved for each of them. */
interface Queue {
  readonly answers: (() => void)[];
  next: number;
}

export class SlowAnswers {
  /** Who waits, in the order in which they are next. */
  readonly #waiting = new Map<Payer, Queue>();
  #timer: NodeJS.Timeout | undefined;

  /** Resolves when an answer may go to this payer. */
  turn(payer: Payer): Promise<void> {
    return new Promise((resolve) => {
      const own = this.#waiting.get(payer);
      if (own === undefined) this.#waiting.set(payer, { answers: [resolve], next: 0 });
      else own.answers.push(resolve);
      this.#timer ??= setTimeout(() => this.#release(), pauseMs);
    });
  }

  #release(): void {
    this.#timer = undefined;
    for (let left = answersEachPause; left > 0; left--) {
      const next = this.#waiting.entries().next().value;
      if (next === undefined) return;
      const [payer, own] = next;
      own.answers[own.next++]?.();
      this.#waiting.delete(payer);
      if (own.next === own.answers.length) continue;
      if (own.next >= maxGone) {
        own.answers.splice(0, own.next);
        own.next = 0;
      }
      this.#waiting.set(payer, own);
    }
    if (this.#waiting.size > 0) this.#timer = setTimeout(() => this.#release(), pauseMs);
  }
}
