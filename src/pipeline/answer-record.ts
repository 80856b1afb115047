/** The last step of every request, whatever became of it: its event is on record, or its answer is not given. */

import type { AuditEvent, AuditLog, LineAccount } from '../audit/audit-log.ts';
import type { Caller } from '../identity/caller.ts';
import { internalMessage } from '../keys/key-store-errors.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import type { Payer } from '../kms/payer.ts';
import { type Intents, owed } from './intents.ts';
import { type LineTraits, lineAccountOf } from './line-account.ts';
import type { RefusalRecords } from './refusal-records.ts';
import type { KmsAnswer } from './service.ts';

export interface AnswerRecordParts {
  readonly audit: Pick<AuditLog, 'append'>;
  /** Of the changes that are on record in `audit`. */
  readonly intents: Pick<Intents, 'conclude'>;
  /** Puts refusals on record; absent: each is an event. */
  readonly refusals?: Pick<RefusalRecords, 'record' | 'succeeded'> | undefined;
  readonly log: Logger;
}

/** The longest line that its payer has for nothing, in bytes; and no line is longer than this if its request is not. */
export const ordinaryBytes = 2048;

export class AnswerRecord {
  readonly #parts: AnswerRecordParts;

  constructor(parts: AnswerRecordParts) {
    this.#parts = parts;
  }

  /**
   * Resolves with the answer once the audit log took the event, and with `KMSInternalException` when it did not. Never rejects.
   * @param payer Whose request it is.
   * @param extraBytes What its line has more than ordinary ones, if it succeeded.
   */
  async record(
    event: AuditEvent,
    answer: KmsAnswer,
    payer: Payer,
    caller: Caller | null,
    traits: LineTraits | undefined,
    extraBytes: number,
  ): Promise<KmsAnswer> {
    try {
      await this.put(event, answer, lineAccountOf(payer, caller, answer.ok ? traits : undefined), traits);
      return this.taken(answer, payer, extraBytes);
    } catch (error) {
      return this.withheld(event, payer, error);
    }
  }

  /**
   * The three steps of `record`, for whoever awaits something anyway: each function that does costs more than what it does here.
   * @param account As `lineAccountOf` has it for this answer.
   * @throws (or rejects) when the audit log does not take the event.
   */
  put(
    event: AuditEvent,
    answer: KmsAnswer,
    account: LineAccount,
    traits: LineTraits | undefined,
  ): Promise<void> | undefined {
    const { audit, intents, refusals } = this.#parts;
    if (event.intent !== undefined) return intents.conclude(event, account);
    if (answer.ok && traits?.effect === 'changes') return audit.append(event, 'synced', owed(account));
    if (answer.ok || refusals === undefined) return audit.append(event, 'written', account);
    return refusals.record(event, account);
  }

  /** The audit log has the event. */
  taken(answer: KmsAnswer, payer: Payer, extraBytes: number): KmsAnswer {
    if (answer.ok) this.#parts.refusals?.succeeded(payer, extraBytes);
    return answer;
  }

  /** It has not, for this reason. */
  withheld({ requestId }: AuditEvent, payer: Payer, error: unknown): KmsAnswer {
    this.#parts.log.error({ requestId, payer, err: error }, 'the audit log cannot be written; the answer is withheld');
    return { ok: false, error: new KmsError('KMSInternalException', internalMessage, error) };
  }
}
