/**
 * What each payer has under way on his connections, against his budget (`kms/budgets.ts`): requests without an answer, the
 * bytes of their bodies, and the bytes of answers that nobody has taken.
 *
 * Counts are kept where something begins and ends: `request-gate.ts` and `unread-answers.ts`.
 */

import type { ExchangeBudget } from '../../kms/budgets.ts';
import type { Payer } from '../../kms/payer.ts';

/** A connection whose client does not take its answers. */
export interface Hoarder {
  readonly bytes: number;
  cutOff(): void;
}

export interface PayerAccount {
  readonly payer: Payer;
  readonly budget: ExchangeBudget;
  connections: number;
  /** Requests that were begun and have no answer. */
  unanswered: number;
  /** Of bodies of requests without an answer. */
  requestBytes: number;
  /** Of answers that are written and not taken. */
  unreadBytes: number;
  /** Of connections with such answers. */
  readonly unread: Set<Hoarder>;
}

export class PayerAccounts {
  readonly #budget: ExchangeBudget;
  readonly #accounts = new Map<Payer, PayerAccount>();

  constructor(budget: ExchangeBudget) {
    this.#budget = budget;
  }

  /** For one more connection; `close` gives it back. */
  open(payer: Payer): PayerAccount {
    let account = this.#accounts.get(payer);
    if (account === undefined) {
      const counts = { connections: 0, unanswered: 0, requestBytes: 0, unreadBytes: 0 };
      account = { payer, budget: this.#budget, ...counts, unread: new Set() };
      this.#accounts.set(payer, account);
    }
    account.connections++;
    return account;
  }

  close(account: PayerAccount): void {
    account.connections--;
    this.leave(account);
  }

  /** Forgets whoever has nothing any more. What is under way counts on when its connection is closed. */
  leave({ payer, connections, unanswered }: PayerAccount): void {
    if (connections === 0 && unanswered === 0) this.#accounts.delete(payer);
  }
}
