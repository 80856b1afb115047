/** Runs what is done for a caller and is no KMS operation (`Act`): permission was checked by the wire, and each is on record. */

import type { AuditEvent, AuditLog } from '../audit/audit-log.ts';
import type { Logger } from '../kms/logger.ts';
import { type AnswerRecord, ordinaryBytes } from './answer-record.ts';
import type { Intents } from './intents.ts';
import { lineAccountOf } from './line-account.ts';
import { assertRecordable } from './recordable.ts';
import { emptyEvent, intentOf, outcome } from './request-event.ts';
import { toKmsError } from './request-failures.ts';
import type { ActResult, KmsAnswer, KmsService } from './service.ts';

export interface ActParts {
  readonly audit: Pick<AuditLog, 'obstacle'>;
  readonly intents: Intents;
  readonly region: string;
  readonly records: Pick<AnswerRecord, 'record'>;
  readonly log: Logger;
}

export function actRunner({ audit, intents, region, records, log }: ActParts): KmsService['act'] {
  return async (act, perform) => {
    let result: ActResult | undefined;
    let answer: KmsAnswer;
    const account = lineAccountOf(act.payer, act.caller, act);
    const by = intents.of(account, () => intentOf(act, region));
    try {
      assertRecordable(act.effect === 'changes' ? intents : audit, account);
      result = await perform(by);
      answer = { ok: true, body: result.body };
    } catch (error) {
      answer = { ok: false, error: toKmsError(error, act, log) };
    }
    const event: AuditEvent = {
      ...emptyEvent(act, region, act.operationName, act.caller),
      eventSource: act.eventSource,
      readOnly: act.effect !== 'changes',
      requestParameters: act.parameters,
      responseElements: result?.record ?? null,
      ...act.trace,
      ...(answer.ok ? {} : outcome(answer.error)),
      intent: by.outcome(),
    };
    // Who-am-I and credentials of one's own take no permission, so nothing of their lines is for nothing.
    return records.record(event, answer, act.payer, act.caller, act, ordinaryBytes);
  };
}
