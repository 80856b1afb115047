/**
 * What requests are told while there are no keys yet, because a token is waited for: that they can be retried.
 *
 * Nothing that records say is known then, so nobody is authorized to anything, and no operation is looked up, no body read. The
 * account's root, whom configuration and kernel name, is told how the daemon is. What the wire refuses of its own accord it refuses
 * as always. Each is on record, or one of those that are counted.
 */

import type { AuditLog } from '../audit/audit-log.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import { actRunner } from './acts.ts';
import { AnswerRecord } from './answer-record.ts';
import type { Intents } from './intents.ts';
import type { RefusalRecords } from './refusal-records.ts';
import { emptyEvent, outcome } from './request-event.ts';
import type { KmsService } from './service.ts';

export interface ClosedServiceOptions {
  readonly audit: AuditLog;
  readonly intents: Intents;
  readonly refusals: Pick<RefusalRecords, 'record' | 'succeeded'>;
  readonly region: string;
  readonly log: Logger;
}

/** AWS's word for what may go better at another time. */
export function notOpenYet(): KmsError {
  return new KmsError(
    'KMSInternalException',
    'The request was rejected because the key store is not connected yet. The request can be retried.',
  );
}

/** What takes neither keys nor records. */
const actsWithoutKeys: ReadonlySet<string> = new Set(['GetDaemonStatus']);

export function closedService({ region, ...parts }: ClosedServiceOptions): KmsService {
  const records = new AnswerRecord(parts);
  const runAct = actRunner({ ...parts, region, records });
  const service: KmsService = {
    run(request) {
      request.body.fill(0);
      return service.refuse(request, notOpenYet());
    },
    act: (act, perform) =>
      actsWithoutKeys.has(act.operationName) ? runAct(act, perform) : service.refuse(act, notOpenYet()),
    refuse(origin, error) {
      const { operationName, caller, eventSource, payer } = origin;
      const event = {
        ...emptyEvent(origin, region, operationName, caller),
        ...(eventSource === undefined ? {} : { eventSource }),
        ...outcome(error),
      };
      return records.record(event, { ok: false, error }, payer, caller, undefined, 0);
    },
  };
  return service;
}
