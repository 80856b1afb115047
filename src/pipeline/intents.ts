/**
 * On record, then effective: the intent of a change is on disk in the audit log before the change is written, and its outcome
 * follows.
 *
 * INVARIANT: no change is begun while the outcome of another one could not be put on record. What was committed is never undone:
 * its outcome is *owed*, and is tried again every second, before the next change, and at a stop. What is owed when the daemon
 * ends is put on record by the next start (`daemon/standing.ts`), which finds intents without an outcome.
 *
 * Of a request the outcome is the request's own event, which says the intent's id; of what the daemon does of its own accord, and
 * of an intent that was decided anew, it is a line of its own.
 */

import { randomUUID } from 'node:crypto';
import type { AuditEvent, AuditLog, ClosedIntent, IntentEvent, LineAccount, OutcomeEvent } from '../audit/audit-log.ts';
import type { Logger } from '../kms/logger.ts';
import type { Change } from '../store/records/changes.ts';
import type { Announcer } from '../store/turns.ts';

export interface IntentsOptions {
  readonly audit: Pick<AuditLog, 'append' | 'obstacle'>;
  readonly account: string;
  readonly log: Logger;
  /** Of the metadata at this moment, for the outcome of a change that was just written; absent: outcomes do not say it. */
  readonly epoch?: () => number;
  /** Between two attempts to put on record what is owed; a second unless given. */
  readonly retryMs?: number;
}

/** The intents of one request, for its event. */
export interface RequestIntents extends Announcer {
  /** What became of the change, if one was announced. */
  outcome(): ClosedIntent | undefined;
}

const defaultRetryMs = 1_000;
/** Of what the daemon changes of its own accord. */
const ownChange: LineAccount = { purpose: 'change' };

interface Owed {
  readonly event: AuditEvent | OutcomeEvent;
  readonly account: LineAccount;
}

/** The account on which what has happened is on record. */
export function owed(account: LineAccount): LineAccount {
  return { ...account, purpose: 'owed' };
}

export class Intents {
  readonly #options: IntentsOptions;
  /** Outcomes that are not on record yet, the oldest first. */
  readonly #owed: Owed[] = [];
  #paying: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Of changes of the daemon's own. */
  readonly own: Announcer = {
    announce: (changes) => this.#announce(changes, null, ownChange),
    settled: (intentId, isDone) => this.#close(this.#closed(intentId, isDone), ownChange),
  };

  constructor(options: IntentsOptions) {
    this.#options = options;
  }

  /**
   * @param account On which the change is on record.
   * @param request Made when something is announced, which of most requests is never.
   */
  of(account: LineAccount, request: () => NonNullable<IntentEvent['request']>): RequestIntents {
    const closed = (intentId: string, isDone: boolean): ClosedIntent => this.#closed(intentId, isDone);
    let last: ClosedIntent | undefined;
    return {
      announce: async (changes) => {
        // It was decided on what was not true any more; nothing of it was written.
        if (last !== undefined) this.#close(last, account);
        last = undefined;
        return this.#announce(changes, request(), account);
      },
      settled(intentId, isDone) {
        last = closed(intentId, isDone);
      },
      outcome: () => last,
    };
  }

  /** Why no change should be begun now: as `AuditLog.obstacle`, or because an outcome is owed that cannot be put on record. */
  obstacle(account: LineAccount): string | null {
    return this.failure() ?? this.#options.audit.obstacle(account);
  }

  /** In words for operators; `null` when nothing is owed. */
  failure(): string | null {
    const { length } = this.#owed;
    return length === 0
      ? null
      : `the outcome of ${length} changes is not on record yet, so no other change is begun; look at the disk of the audit log`;
  }

  /**
   * Puts the event of a request on record, as durable as its outcome has to be.
   * @throws AuditError when it cannot be; the outcome is owed then, and the event follows.
   */
  async conclude(event: AuditEvent, account: LineAccount): Promise<void> {
    try {
      await this.#options.audit.append(event, 'synced', owed(account));
    } catch (error) {
      this.#owe({ event, account }, error);
      throw error;
    }
  }

  /** At a stop, when nothing changes any more: tries once more to put on record what is owed. Never rejects. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#pay();
    clearTimeout(this.#timer);
    const { length } = this.#owed;
    if (length > 0)
      this.#options.log.error({ changes: length }, 'the outcome of changes is put on record at the next start');
  }

  async #announce(changes: readonly Change[], request: IntentEvent['request'], account: LineAccount): Promise<string> {
    await this.#pay();
    const failure = this.failure();
    if (failure !== null) throw new Error(failure);
    const intentId = randomUUID();
    const { audit, account: accountId } = this.#options;
    const event = { intentId, eventAtMs: Date.now(), accountId, request, changes: changes.map(intended) };
    await audit.append(event, 'synced', account);
    return intentId;
  }

  #closed(intentId: string, isDone: boolean): ClosedIntent {
    return isDone ? { intentId, outcome: 'done', epoch: this.#options.epoch?.() } : { intentId, outcome: 'not done' };
  }

  #close(closed: ClosedIntent, account: LineAccount): void {
    const { audit, account: accountId } = this.#options;
    const event: OutcomeEvent = { ...closed, because: null, eventAtMs: Date.now(), accountId };
    audit.append(event, 'written', owed(account)).catch((error: unknown) => this.#owe({ event, account }, error));
  }

  #owe(next: Owed, error: unknown): void {
    if (this.#owed.length === 0) {
      this.#options.log.error({ err: error }, 'the outcome of a change could not be put on record; it follows');
    }
    this.#owed.push(next);
    this.#schedule();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#pay(), this.#options.retryMs ?? defaultRetryMs).unref();
  }

  /** Puts on record what is owed, as far as it can. One attempt at a time. Never rejects. */
  #pay(): Promise<void> {
    if (this.#owed.length === 0) return Promise.resolve();
    this.#paying ??= this.#payAll().finally(() => {
      this.#paying = undefined;
    });
    return this.#paying;
  }

  async #payAll(): Promise<void> {
    try {
      for (let [next] = this.#owed; next !== undefined; [next] = this.#owed) {
        await this.#options.audit.append(next.event, 'synced', owed(next.account));
        this.#owed.shift();
      }
      this.#options.log.info({}, 'the outcome of every change is on record');
    } catch {
      // It was told when it was first tried.
      this.#schedule();
    }
  }
}

/** The kind and the record: which version it takes the place of follows from the record's own. */
function intended(change: Change): IntentEvent['changes'][number] {
  return 'put' in change
    ? { put: change.put, record: change.record }
    : { remove: change.remove, record: change.record };
}
