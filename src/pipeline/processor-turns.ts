/**
 * Who has the processor next: whoever had least of it.
 *
 * A decision is synchronous, and takes from some microseconds to milliseconds, depending on policies that others wrote. While
 * there is time for all, requests are run as they come. When more than `sliceMs` were used up in a while, they wait, are taken
 * in the order of how much their payers had (start-time fair queueing), and between slices the event loop reads what others
 * sent. So a payer who asks for the dearest decisions pays with his own time: one of them at most is before the request of
 * somebody who had less, with what is left of a slice.
 *
 * What is measured is the synchronous part of a request, up to its first wait: parsing, look-up, decision.
 *
 * Source: Goyal, Vin and Cheng, "Start-time fair queuing", 1997.
 */

import type { Payer } from '../kms/payer.ts';

/** In so long a time... */
const windowMs = 4;
/** ...so much may be used at once before requests have to wait. Both are short against what a call to an HSM takes to be noticed. */
const defaultSliceMs = 2;
/** Of whom it is remembered how much they had. It grows beyond that only by those who had more than others do. */
const maxAccounts = 1024;

export interface Work<Result> {
  /** Its synchronous part is what the payer is charged for. */
  run(): Promise<Result>;
  /** Is told how long that was, in milliseconds, before the promise resolves. */
  charged?(usedMs: number): void;
}

interface Account {
  readonly payer: Payer;
  /** How much time he had, counted from where the others are. */
  usedMs: number;
  readonly waiting: (() => void)[];
  nextWaiting: number;
}

export class ProcessorTurns {
  readonly #sliceMs: number;
  readonly #clock: () => number;
  /** Of those who wait, and of those who had their time lately. */
  readonly #accounts = new Map<Payer, Account>();
  #waitingCount = 0;
  /** How much the one who was served last had before: who comes anew begins there. */
  #servedMs = 0;
  #windowStartMs = Number.NEGATIVE_INFINITY;
  #windowUsedMs = 0;
  #isScheduled = false;

  /** @param clock in milliseconds from any time, and never back. */
  constructor(sliceMs = defaultSliceMs, clock = () => performance.now()) {
    this.#sliceMs = sliceMs;
    this.#clock = clock;
  }

  /** Runs `work` now, or in its turn. */
  run<Result>(payer: Payer, work: Work<Result>): Promise<Result> {
    const nowMs = this.#clock();
    if (this.#waitingCount === 0) {
      if (nowMs - this.#windowStartMs > windowMs) {
        this.#windowStartMs = nowMs;
        this.#windowUsedMs = 0;
      }
      if (this.#windowUsedMs < this.#sliceMs) return this.#serve(this.#accountOf(payer), work, nowMs);
    }
    return new Promise((resolve) => {
      const account = this.#accountOf(payer);
      account.waiting.push(() => resolve(this.#serve(account, work, this.#clock())));
      this.#waitingCount++;
      this.#schedule();
    });
  }

  #serve<Result>(account: Account, work: Work<Result>, startMs: number): Promise<Result> {
    this.#servedMs = Math.max(this.#servedMs, account.usedMs);
    try {
      return work.run();
    } catch (error) {
      return Promise.reject(error);
    } finally {
      const usedMs = this.#clock() - startMs;
      account.usedMs += usedMs;
      this.#windowUsedMs += usedMs;
      work.charged?.(usedMs);
    }
  }

  #accountOf(payer: Payer): Account {
    let account = this.#accounts.get(payer);
    if (account === undefined) {
      if (this.#accounts.size >= maxAccounts) this.#forgetIdle();
      account = { payer, usedMs: this.#servedMs, waiting: [], nextWaiting: 0 };
      this.#accounts.set(payer, account);
    } else if (account.waiting.length === 0 && account.usedMs < this.#servedMs) account.usedMs = this.#servedMs;
    return account;
  }

  /** After what is ready to be read was read. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#windowStartMs = this.#clock();
      this.#windowUsedMs = 0;
      do this.#serveNext();
      while (this.#waitingCount > 0 && this.#windowUsedMs < this.#sliceMs);
      if (this.#waitingCount > 0) this.#schedule();
    });
  }

  #serveNext(): void {
    let next: Account | undefined;
    for (const account of this.#accounts.values())
      if (account.waiting.length > 0 && (next === undefined || account.usedMs < next.usedMs)) next = account;
    const serve = next?.waiting[next.nextWaiting];
    if (next === undefined || serve === undefined) throw new TypeError('somebody waits');
    next.nextWaiting++;
    this.#waitingCount--;
    if (next.nextWaiting === next.waiting.length) {
      next.waiting.length = 0;
      next.nextWaiting = 0;
    }
    serve();
  }

  /** Whoever had no more than the others has nothing to be remembered for. */
  #forgetIdle(): void {
    for (const [payer, { waiting, usedMs }] of this.#accounts)
      if (waiting.length === 0 && usedMs <= this.#servedMs) this.#accounts.delete(payer);
  }
}
