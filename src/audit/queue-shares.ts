/**
 * How much of the queue before the audit log's disk each payer may have.
 *
 * A payer may have as much of it waiting as is free: one alone half of the queue, two a third each, and so on. So nobody has
 * to be counted, one who floods leaves room for the next one, and those who flood get equal parts. Behind that a part is kept
 * for changes, which are decided one after the other: while everybody floods, a change still goes on record before it takes
 * effect. What is owed to the record (the outcome of a change that was begun) always gets in; there is never more of it than
 * there are changes under way.
 *
 * Source: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.
 */

import type { Payer } from '../kms/payer.ts';
import type { LineAccount } from './audit-log.ts';

/** Some 8,000 ordinary events. More means that the disk is stuck, and callers hear of it. */
export const maxQueuedBytes = 8 * 1024 * 1024;
/** The longest lines of 64 changes. */
const keptForChangesBytes = 4 * 1024 * 1024;

export class QueueShares {
  readonly #byPayer = new Map<Payer, number>();
  #total = 0;

  /** @param lineBytes Of the line, or of as much of it as there is. */
  admits({ payer, purpose }: LineAccount, lineBytes: number): boolean {
    const free = maxQueuedBytes - this.#total;
    switch (purpose) {
      case 'owed':
        return true;
      case 'change':
      case 'revocation':
        return lineBytes <= free + keptForChangesBytes;
      case 'request':
      case 'look':
        return (payer === undefined ? 0 : (this.#byPayer.get(payer) ?? 0)) + lineBytes <= free;
      default:
        return purpose satisfies never;
    }
  }

  /** A line of this account waits. */
  add({ payer }: LineAccount, lineBytes: number): void {
    this.#total += lineBytes;
    if (payer !== undefined) this.#byPayer.set(payer, (this.#byPayer.get(payer) ?? 0) + lineBytes);
  }

  /** It waits no longer. */
  remove({ payer }: LineAccount, lineBytes: number): void {
    this.#total -= lineBytes;
    if (payer === undefined) return;
    const left = (this.#byPayer.get(payer) ?? 0) - lineBytes;
    if (left > 0) this.#byPayer.set(payer, left);
    else this.#byPayer.delete(payer);
  }
}
