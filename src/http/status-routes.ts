/**
 * What the daemon says about itself: `GET /health` to whoever can connect, `GET /status` and `GET /status/keys/ID` to the
 * account's root alone, because they name libraries, tokens and the objects behind keys.
 *
 * These are no KMS operations. A refusal is put on record; an answer is not, since nothing of it depends on a key.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import { plainJson } from './answers.ts';
import { answer, finish, receive, receiveBody, refuse, send, type Wire } from './exchange.ts';
import { rootOnlyRefusal } from './root-only.ts';

export interface StatusSource {
  health(): { readonly healthy: boolean; readonly reason: string | null };
  report(): object;
  /** What the HSM says about the backing keys of a KMS key; `undefined` when there is no such key. */
  key(keyId: string): Promise<object | undefined>;
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
    const reported = reportOn(wire.log, status, keyId).then((report) => {
      if (report instanceof KmsError) answer(wire, exchange, { ok: false, error: report });
      else send(wire, exchange, 200, JSON.stringify(report));
    });
    finish(wire, message.socket, reported);
  });
}

async function reportOn(log: Logger, status: StatusSource, keyId: string | undefined): Promise<object> {
  try {
    if (keyId === undefined) return status.report();
    return (await status.key(keyId)) ?? new KmsError('NotFoundException', `Key '${keyId}' does not exist`);
  } catch (error) {
    log.error({ err: error }, 'the status could not be reported');
    return new KmsError('KMSInternalException', 'The key store did not answer.');
  }
}
