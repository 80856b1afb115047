/**
 * What the daemon says about itself: `GET /health` to whoever can connect, `GET /status` and `GET /status/keys/ID` to the
 * account's root alone, because they name libraries, tokens and the objects behind keys.
 *
 * These are no KMS operations. What tells of keys and tokens is on record, answered or refused. Health is not: it says the same
 * to everybody, nothing of it depends on a key, and who asks every second would fill the log with it.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Caller } from '../identity/caller.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import type { KmsAnswer } from '../pipeline/service.ts';
import { plainJson } from './answers.ts';
import { answer, finish, receive, receiveBody, refuse, send, type Wire } from './exchange.ts';
import { rootOnlyRefusal } from './root-only.ts';

export interface StatusSource {
  health(): { readonly healthy: boolean; readonly reason: string | null };
  report(caller: Caller): object;
  /** What the HSM says about the backing keys of a KMS key; `undefined` when there is no such key. */
  key(keyId: string, caller: Caller): Promise<object | undefined>;
}

/** Needs no signature and no authority: load balancers and `curl -f` ask it. */
export function healthRequest(
  wire: Wire,
  status: StatusSource,
  message: IncomingMessage,
  response: ServerResponse,
): void {
  receiveBody(wire, message, response, plainJson, (exchange) => {
    const { healthy, reason } = status.health();
    const isServing = healthy && !wire.draining;
    const answer = { status: isServing ? 'ok' : 'unavailable', reason: wire.draining ? 'stopping' : reason };
    send(wire, exchange, isServing ? 200 : 503, JSON.stringify(answer));
  });
}

/** `GET /status`, or `GET /status/keys/ID` when `keyId` is given. */
export function statusRequest(
  wire: Wire,
  status: StatusSource,
  message: IncomingMessage,
  response: ServerResponse,
  keyId?: string,
): void {
  receive(wire, message, response, plainJson, (exchange, caller) => {
    const operationName = keyId === undefined ? 'GetDaemonStatus' : 'GetBackingKeys';
    const refusal = rootOnlyRefusal(caller, operationName);
    if (refusal !== undefined) {
      refuse(wire, exchange, { caller, operationName, eventSource: 'drawbridge' }, refusal);
      return;
    }
    const act = {
      ...exchange.origin,
      operationName,
      eventSource: 'drawbridge',
      effect: 'reads' as const,
      caller,
      parameters: keyId === undefined ? null : { keyId: keyId.slice(0, maxKeyIdCharacters) },
    };
    const reported = wire.service.act(act, async () => {
      return { body: JSON.stringify(await reportOn(wire.log, status, keyId, caller)), record: null };
    });
    finish(
      wire,
      exchange,
      reported.then((outcome) => answer(wire, exchange, withReason(outcome, status))),
    );
  });
}

/** Names come from callers: what is none of a key is cut to this in the audit log. */
const maxKeyIdCharacters = 128;

/** Whoever asks what is wrong is told what health tells, also where nothing can be put on record. */
function withReason(outcome: KmsAnswer, status: StatusSource): KmsAnswer {
  const { reason } = status.health();
  if (outcome.ok || outcome.error.name !== 'KMSInternalException' || reason === null) return outcome;
  return {
    ok: false,
    error: new KmsError('KMSInternalException', `${outcome.error.message} (${reason})`, outcome.error),
  };
}

/** @throws KmsError */
async function reportOn(log: Logger, status: StatusSource, keyId: string | undefined, caller: Caller): Promise<object> {
  try {
    if (keyId === undefined) return status.report(caller);
    const report = await status.key(keyId, caller);
    if (report !== undefined) return report;
  } catch (error) {
    log.error({ err: error }, 'the status could not be reported');
    throw new KmsError('KMSInternalException', 'The key store did not answer.');
  }
  throw new KmsError('NotFoundException', `Key '${keyId}' does not exist`);
}
