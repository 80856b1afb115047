/**
 * The requests of one connection that began and have no answer: whether there may be one more, and what they count on their
 * payer's account (`payer-accounts.ts`).
 */

import type { PayerAccount, PayerAccounts } from './payer-accounts.ts';

export class RequestsUnderWay {
  readonly account: PayerAccount;
  readonly #accounts: PayerAccounts;
  #count = 0;

  constructor(account: PayerAccount, accounts: PayerAccounts) {
    this.account = account;
    this.#accounts = accounts;
  }

  get count(): number {
    return this.#count;
  }

  /** Who sends one request at a time is never held up. */
  mayBegin(): boolean {
    if (this.#count === 0) return true;
    const { unansweredPerConnection, unansweredPerPayer } = this.account.budget;
    return this.#count < unansweredPerConnection && this.account.unanswered < unansweredPerPayer;
  }

  /** The headers of a request are there. */
  begin(): void {
    this.#count++;
    this.account.unanswered++;
  }

  /** @returns Whether there is room for so many bytes of a body, which are counted until it has its answer. */
  reserve(bytes: number): boolean {
    const { budget, requestBytes } = this.account;
    if (requestBytes + bytes > budget.requestBytesPerPayer) return false;
    this.account.requestBytes += bytes;
    return true;
  }

  /**
   * A request has its answer, or there is nobody who could have it.
   * @param bytes Those that were reserved for it.
   */
  answered(bytes: number): void {
    this.#count--;
    this.account.unanswered--;
    this.account.requestBytes -= bytes;
    // It was the last one of a payer who has no connection any more.
    if (this.account.connections === 0) this.#accounts.leave(this.account);
  }
}
