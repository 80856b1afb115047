/** The intents that the lines of a log leave open: what was begun and has no outcome on record. */

import type { ClosedIntent, IntentsOnRecord, StatedIntent } from './audit-log.ts';
import { readIntent } from './intent-line.ts';

export class OpenIntents {
  readonly #open = new Map<string, StatedIntent>();
  #last: { readonly intent: StatedIntent; outcome: ClosedIntent['outcome'] | null } | null = null;

  /** @param line An intact record. */
  take(line: Buffer): void {
    const statement = readIntent(line);
    if (statement === undefined) return;
    if ('opened' in statement) {
      this.#open.set(statement.opened.intentId, statement.opened);
      this.#last = { intent: statement.opened, outcome: null };
      return;
    }
    const { intentId, outcome } = statement.closed;
    this.#open.delete(intentId);
    if (this.#last?.intent.intentId === intentId) this.#last.outcome = outcome;
  }

  found(): IntentsOnRecord {
    return { open: [...this.#open.values()], last: this.#last };
  }
}
