/**
 * When requests are begun that a client has sent without waiting: in one turn of the event loop, `beginsPerTurn` of each payer.
 *
 * Everything that a turn begins, everybody waits for. What stands before anybody's request is one such share of each other
 * payer, and what is the first on its connection, however many requests these have sent.
 */

import type { PayerAccount } from './payer-accounts.ts';

/** Whoever waits to begin a request. */
export interface Waiting {
  readonly account: PayerAccount;
  /** Begins one, and waits again if there are more. */
  takeTurn(): void;
}

export class ReadingTurns {
  readonly #beginsPerTurn: number;
  readonly #rows = new Map<PayerAccount, Waiting[]>();
  #isScheduled = false;

  constructor(beginsPerTurn: number) {
    this.#beginsPerTurn = beginsPerTurn;
  }

  wait(waiting: Waiting): void {
    const row = this.#rows.get(waiting.account);
    if (row === undefined) this.#rows.set(waiting.account, [waiting]);
    else row.push(waiting);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#nextTurn());
  }

  #nextTurn(): void {
    this.#isScheduled = false;
    for (const [account, row] of this.#rows) {
      // Whoever waits again at once has another turn in this one, if nobody else takes it.
      for (let begins = 0; begins < this.#beginsPerTurn; begins++) row.shift()?.takeTurn();
      if (row.length === 0) this.#rows.delete(account);
    }
    if (this.#rows.size > 0) this.#schedule();
  }
}
