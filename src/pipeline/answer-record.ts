/** The last step of every request, whatever became of it: its event is on record, or its answer is not given. */

import type { AuditEvent, AuditLog } from '../audit/audit-log.ts';
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

/**
 * Resolves with the answer once the audit log took the event, and with `KMSInternalException` when it did not. Never rejects.
 * @param payer Whose request it is.
 * @param extraBytes What its line has more than ordinary ones, if it succeeded.
 */
export type RecordAnswer = (
  event: AuditEvent,
  answer: KmsAnswer,
  payer: Payer,
  caller: Caller | null,
  traits: LineTraits | undefined,
  extraBytes: number,
) => Promise<KmsAnswer>;

export function answerRecord({ audit, intents, refusals, log }: AnswerRecordParts): RecordAnswer {
  return async (event, answer, payer, caller, traits, extraBytes) => {
    const account = lineAccountOf(payer, caller, answer.ok ? traits : undefined);
    try {
      if (event.intent !== undefined) await intents.conclude(event, account);
      else if (answer.ok && traits?.effect === 'changes') await audit.append(event, 'synced', owed(account));
      else if (answer.ok) await audit.append(event, 'written', account);
      else if (refusals === undefined) await audit.append(event, 'written', account);
      else await refusals.record(event, account);
      if (answer.ok) refusals?.succeeded(payer, extraBytes);
      return answer;
    } catch (error) {
      log.error(
        { requestId: event.requestId, payer, err: error },
        'the audit log cannot be written; the answer is withheld',
      );
      return { ok: false, error: new KmsError('KMSInternalException', internalMessage, error) };
    }
  };
}
