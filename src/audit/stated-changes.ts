/** What the lines of a log say of changes: which were begun, which have no outcome, and where the metadata stood last. */

import type { ChangesOnRecord, ClosedIntent, StatedIntent } from './audit-log.ts';
import { readIntent } from './intent-line.ts';
import { readStatement } from './log-statement.ts';
import type { StoreMark } from './statements.ts';

export class StatedChanges {
  readonly #announced = new Set<string>();
  readonly #open = new Map<string, StatedIntent>();
  #last: { readonly intent: StatedIntent; outcome: ClosedIntent['outcome'] | null } | null = null;
  #store: StoreMark | null = null;

  /** @param line An intact record. */
  take(line: Buffer): void {
    const statement = readStatement(line);
    if (statement !== undefined) {
      if ('checkpoint' in statement) this.#mark(statement.checkpoint);
      if ('metadataAccepted' in statement) this.#mark(statement.metadataAccepted);
      return;
    }
    const stated = readIntent(line);
    if (stated === undefined) return;
    if ('opened' in stated) {
      this.#announced.add(stated.opened.intentId);
      this.#open.set(stated.opened.intentId, stated.opened);
      this.#last = { intent: stated.opened, outcome: null };
      return;
    }
    const { intentId, outcome, epoch } = stated.closed;
    this.#open.delete(intentId);
    if (this.#last?.intent.intentId === intentId) this.#last.outcome = outcome;
    if (epoch !== undefined) this.#mark({ epoch, records: null, intentId });
  }

  found(): ChangesOnRecord {
    return {
      open: [...this.#open.values()],
      last: this.#last,
      store: this.#store,
      has: (intentId) => this.#announced.has(intentId),
    };
  }

  /** Outcomes come in no order: the highest epoch is the last. */
  #mark({ epoch, records, intentId }: StoreMark): void {
    const last = this.#store;
    const isNews = last === null || epoch > last.epoch || (epoch === last.epoch && last.records === null);
    if (isNews) this.#store = { epoch, records, intentId };
  }
}
