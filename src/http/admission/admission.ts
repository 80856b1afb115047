/**
 * Who may have a connection: asked by every listener, and by whatever else takes connections, before a byte of one is read.
 *
 * All listeners of a daemon have one `Admission`, because what connections cost is paid by one process. It counts them by
 * payer. One payer has no more than his share (`perPayer`); and where all places are taken, one is made: the connection goes
 * that has been idle longest of those of the payer who has the most, if that is more than the newcomer has. So idle
 * connections keep nobody out, however many payers hold them, and each gets in at the cost of whoever has more. Only where
 * nothing of theirs is idle is a request given up, and then it is the latest of a payer who is still ahead afterwards.
 *
 * Root and the daemon's own user have places of their own, and nobody takes theirs.
 *
 * No connection is for ever: after `maxAgeMs` it ends between two requests, so that whoever it belongs to has to be told
 * by the kernel anew (the groups of a process are those that it had when it connected).
 *
 * ```
 * const refusal = admission.refusal(payer);        // before anything is read; may close another connection
 * if (refusal === undefined) admission.enter(guest); // … and leave(guest) when it is closed
 * answer(…, { close: admission.isOver(guest) });   // its time is up: the client is told to go
 * ```
 */

import type { ConnectionBudget } from '../../kms/budgets.ts';
import type { Logger } from '../../kms/logger.ts';
import { isOperator, type Payer } from '../../kms/payer.ts';

/** A connection, as far as it is counted. Times are of `performance.now()`. */
export interface Guest {
  readonly payer: Payer;
  readonly openedAtMs: number;
  /** When the last of its requests was there completely, or was answered; before the first: `openedAtMs`. */
  readonly lastUsedAtMs: number;
  /** Requests of it that are under way. */
  readonly inFlight: number;
  bytesRead(): number;
  /** At once, without an answer. */
  close(): void;
}

/** Of how many there were too many. */
export type Refusal = 'all' | Payer;

/** What is still to come of a client that sends without waiting is answered for so long after its time was up. */
const graceMs = 30_000;

/** Whoever provokes a warning cannot fill the log with it. */
const warningPauseMs = 10_000;

export class Admission {
  readonly #budget: ConnectionBudget;
  readonly #log: Logger;
  /** Each with the bytes that had been read of it at the last round. */
  readonly #guests = new Map<Guest, number>();
  readonly #counts = new Map<Payer, number>();
  readonly #allowances = new Map<Payer, { readonly left: number; readonly atMs: number }>();
  readonly #rounds: NodeJS.Timeout;
  #operators = 0;
  #noWarningBeforeMs = 0;

  get maxRefusedPerSecond(): number {
    return this.#budget.maxRefusedPerSecond;
  }

  constructor(budget: ConnectionBudget, log: Logger) {
    this.#budget = budget;
    this.#log = log;
    // Often enough that a connection is hardly older than it may be, and never so often that it costs anything.
    const roundMs = Math.min(Math.max(budget.maxAgeMs / 10, 50), 5_000);
    this.#rounds = setInterval(() => this.#endThoseThatAreOver(), roundMs).unref();
  }

  /**
   * May this payer have one more connection? Where all places are taken, closes another one if that makes room for it.
   * @returns Of whom there are too many; `undefined` when it may.
   */
  refusal(payer: Payer): Refusal | undefined {
    const refusal = this.#isTooFast(payer) ? payer : this.#refusal(payer);
    if (refusal !== undefined) this.#warn(refusal);
    return refusal;
  }

  /** Counts a connection that was not refused. */
  enter(guest: Guest): void {
    this.#guests.set(guest, -1);
    this.#counts.set(guest.payer, this.#countOf(guest.payer) + 1);
    if (isOperator(guest.payer)) this.#operators++;
  }

  /** It is closed. Nothing happens where it was not counted (any more). */
  leave(guest: Guest): void {
    if (!this.#guests.delete(guest)) return;
    if (isOperator(guest.payer)) this.#operators--;
    const count = this.#countOf(guest.payer) - 1;
    if (count === 0) this.#counts.delete(guest.payer);
    else this.#counts.set(guest.payer, count);
  }

  /** Is its time up, so that the answer in hand is its last one? */
  isOver({ openedAtMs, inFlight }: Pick<Guest, 'openedAtMs' | 'inFlight'>): boolean {
    const overForMs = performance.now() - openedAtMs - this.#budget.maxAgeMs;
    // Whoever sends without waiting has an answer to everything that has arrived, for as long as that ends by itself.
    return overForMs >= (inFlight > 1 ? graceMs : 0);
  }

  /** No connection ends by itself any more. */
  close(): void {
    clearInterval(this.#rounds);
  }

  /** Takes one of the new connections that this payer may have now: `perPayer` at once, and `newPerSecond`. */
  #isTooFast(payer: Payer): boolean {
    if (isOperator(payer)) return false;
    const { perPayer, newPerSecond } = this.#budget;
    const nowMs = performance.now();
    const { left, atMs } = this.#allowances.get(payer) ?? { left: perPayer, atMs: nowMs };
    const now = Math.min(perPayer, left + ((nowMs - atMs) / 1000) * newPerSecond);
    this.#allowances.set(payer, { left: Math.max(0, now - 1), atMs: nowMs });
    return now < 1;
  }

  /** Whoever may have all his connections at once again need not be remembered. */
  #forgetAllowances(): void {
    const { perPayer, newPerSecond } = this.#budget;
    const nowMs = performance.now();
    for (const [payer, { left, atMs }] of this.#allowances) {
      if (left + ((nowMs - atMs) / 1000) * newPerSecond >= perPayer) this.#allowances.delete(payer);
    }
  }

  #refusal(payer: Payer): Refusal | undefined {
    const { total, perPayer, reserved } = this.#budget;
    const extra = isOperator(payer) ? reserved : 0;
    if (this.#countOf(payer) >= perPayer + extra) {
      return extra > 0 && this.#end(this.#longestIdle((guest) => guest.payer === payer)) ? undefined : payer;
    }
    // Places that operators have of their own are nobody else's, and what they take of them is on nobody's account.
    const taken = this.#guests.size - (extra > 0 ? 0 : Math.min(this.#operators, reserved));
    if (taken < total + extra) return undefined;
    return this.#end(this.#victimFor(payer)) ? undefined : 'all';
  }

  /** Of whoever has more than the newcomer. Operators give way to nobody, but each finds room among his own. */
  #victimFor(newcomer: Payer): Guest | undefined {
    const own = this.#countOf(newcomer);
    const gives = ({ payer }: Guest, than: number): boolean =>
      isOperator(payer) ? payer === newcomer : this.#countOf(payer) > than;
    return (
      this.#longestIdle((guest) => gives(guest, own)) ??
      this.#best(
        (guest) => guest.payer !== newcomer && gives(guest, own + 1),
        (guest) => guest.lastUsedAtMs,
      )
    );
  }

  #longestIdle(mayEnd: (guest: Guest) => boolean): Guest | undefined {
    return this.#best(
      (guest) => guest.inFlight === 0 && mayEnd(guest),
      (guest) => -guest.lastUsedAtMs,
    );
  }

  /** Of those of the payers who have the most, the one of the highest rank. */
  #best(mayEnd: (guest: Guest) => boolean, rank: (guest: Guest) => number): Guest | undefined {
    let best: Guest | undefined;
    let bestCount = 0;
    for (const guest of this.#guests.keys()) {
      const count = this.#countOf(guest.payer);
      if (count < bestCount || !mayEnd(guest)) continue;
      if (best !== undefined && count === bestCount && rank(guest) <= rank(best)) continue;
      best = guest;
      bestCount = count;
    }
    return best;
  }

  /** @returns Was there one to end? */
  #end(guest: Guest | undefined): boolean {
    if (guest === undefined) return false;
    this.leave(guest);
    guest.close();
    return true;
  }

  /** Between two requests: nothing is under way, and nothing has arrived since the last round. */
  #endThoseThatAreOver(): void {
    this.#forgetAllowances();
    for (const [guest, before] of this.#guests) {
      if (guest.inFlight > 0 || !this.isOver(guest)) continue;
      const bytesRead = guest.bytesRead();
      if (bytesRead === before) this.#end(guest);
      else this.#guests.set(guest, bytesRead);
    }
  }

  #countOf(payer: Payer): number {
    return this.#counts.get(payer) ?? 0;
  }

  #warn(whose: Refusal): void {
    if (performance.now() < this.#noWarningBeforeMs) return;
    this.#noWarningBeforeMs = performance.now() + warningPauseMs;
    this.#log.warn({ whose }, 'too many connections: some are refused');
  }
}
