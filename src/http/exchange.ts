/**
 * One request and its answer, as all routes see it: the body is read, the caller is known, and the one answer goes out.
 *
 * The path of every KMS operation is `receive` → route → `KmsService.run` → `answer`; every refusal by the wire itself
 * goes through `KmsService.refuse`, so that it is on record like any other.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Caller } from '../identity/caller.ts';
import { payerOfCaller } from '../identity/payer-of-caller.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import { newUuid } from '../kms/uuids.ts';
import type { KmsAnswer, KmsService, RequestOrigin } from '../pipeline/service.ts';
import type { Admission } from './admission/admission.ts';
import { type Answer, awsJson, type ContentType, rawAnswer, writeAnswer, xml } from './answers.ts';
import type { Authentication } from './authentication.ts';
import { answerAndClose, type Connection } from './connections/connection.ts';
import { type Connections, gateOf } from './connections/connections.ts';
import { toQueryError } from './query-errors.ts';
import { collectBody } from './request-body.ts';
import { toWireError, type WireError } from './wire-errors.ts';
import type { WireLimits } from './wire-limits.ts';

export interface Wire {
  readonly service: KmsService;
  readonly authentication: Authentication;
  readonly admission: Admission;
  readonly connections: Connections;
  readonly limits: WireLimits;
  readonly log: Logger;
  /** The server is stopping: answers tell their clients to go. */
  draining: boolean;
}

export interface Exchange {
  readonly message: IncomingMessage;
  readonly response: ServerResponse;
  readonly connection: Connection;
  readonly contentType: ContentType;
  readonly origin: RequestOrigin;
  /** What it counts on its connection and its payer is over, and its body wiped; once, whoever calls it. */
  readonly end: () => void;
}

/** What a refused request called itself, where it did not come to naming an operation. */
const unnamedOperation = 'Unknown';

function originOf(wire: Wire, message: IncomingMessage): RequestOrigin {
  return {
    requestId: newUuid(),
    receivedAtMs: Date.now(),
    sourceIPAddress: wire.authentication.sourceOf(message.socket),
    userAgent: message.headers['user-agent'] ?? null,
    payer: wire.connections.of(message.socket).payer,
  };
}

/** Reads the body; `then` runs when all of it is there. Everything else is answered here. */
export function receiveBody(
  wire: Wire,
  message: IncomingMessage,
  response: ServerResponse,
  contentType: ContentType,
  then: (exchange: Exchange, body: Buffer) => void,
): void {
  const connection = wire.connections.of(message.socket);
  const gate = gateOf(connection);
  const { maxBodyBytes } = wire.limits;
  let reservedBytes = announcedBytes(message, maxBodyBytes);
  let whole: Buffer | undefined;
  let hasEnded = false;
  const end = (): void => {
    if (hasEnded) return;
    hasEnded = true;
    if (whole === undefined) {
      gate.gone(reservedBytes);
      return;
    }
    whole.fill(0);
    gate.answered(reservedBytes);
    connection.requestAnswered();
  };
  const exchange: Exchange = { message, response, connection, contentType, origin: originOf(wire, message), end };
  if (!gate.reserve(reservedBytes)) {
    reservedBytes = 0;
    finish(wire, exchange, refuseUnread(wire, exchange, new KmsError('ThrottlingException', 'Rate exceeded')));
    return;
  }
  collectBody(message, maxBodyBytes, gate, (outcome) => {
    switch (outcome.kind) {
      case 'complete':
        whole = outcome.body;
        connection.requestArrived();
        gate.arrived();
        try {
          then(exchange, whole);
        } catch (error) {
          failExchange(wire, exchange, error);
        }
        return;
      case 'tooLarge':
        return finish(wire, exchange, refuseUnread(wire, exchange, tooLarge(maxBodyBytes)));
      case 'gone':
        end();
        // There is nobody to answer; but who was told to go on has had an answer, of which there has to be a record.
        if (message.headers.expect !== undefined) finish(wire, exchange, recordGone(wire, exchange));
        return;
      default:
        outcome satisfies never;
    }
  });
}

/** How large the body may become. A declared length that is too large is refused before any of it is kept. */
function announcedBytes({ headers }: IncomingMessage, maxBytes: number): number {
  const { 'content-length': declared, 'transfer-encoding': encoding } = headers;
  return encoding === undefined ? Math.min(Number(declared ?? 0), maxBytes) : maxBytes;
}

function tooLarge(maxBytes: number): KmsError {
  return new KmsError('RequestEntityTooLargeException', `The request body must not be larger than ${maxBytes} bytes.`);
}

/** As `receiveBody`, and finds out who is calling. */
export function receive(
  wire: Wire,
  message: IncomingMessage,
  response: ServerResponse,
  contentType: ContentType,
  then: (exchange: Exchange, caller: Caller, body: Buffer) => void,
): void {
  receiveBody(wire, message, response, contentType, (exchange, body) => withCaller(wire, exchange, body, then));
}

/** Finds out who is calling; who does not prove it is refused here. */
export function withCaller(
  wire: Wire,
  exchange: Exchange,
  body: Buffer,
  then: (exchange: Exchange, caller: Caller, body: Buffer) => void,
): void {
  const { message, contentType, connection } = exchange;
  const refuseUnproven = (error: unknown): void => {
    body.fill(0);
    refuse(wire, exchange, { caller: null, operationName: targetOf(message) }, unproven(wire, connection, error));
  };
  let caller: Caller | Promise<Caller>;
  try {
    caller = wire.authentication.callerOf(message, body, contentType === xml ? 'sts' : 'kms');
  } catch (error) {
    refuseUnproven(error);
    return;
  }
  const go = (proven: Caller): void => then(paidBy(exchange, proven), proven, body);
  if (caller instanceof Promise) finish(wire, exchange, caller.then(go, refuseUnproven));
  else go(caller);
}

/** Who was known when he connected pays all the time. */
function paidBy(exchange: Exchange, caller: Caller): Exchange {
  if (caller.proof.kind === 'unix') return exchange;
  return { ...exchange, origin: { ...exchange.origin, payer: payerOfCaller(caller) } };
}

/** What to answer whom `callerOf` did not know. */
export function unproven({ log }: Wire, { payer }: Connection, error: unknown): KmsError {
  if (error instanceof KmsError) return error;
  log.error({ payer, err: error }, 'a request could not be authenticated');
  return new KmsError('KMSInternalException', 'The request could not be authenticated.', error);
}

/** Answers with what the service made of it. */
export function answer(wire: Wire, exchange: Exchange, outcome: KmsAnswer): void {
  const { statusCode, body } = outcome.ok
    ? { statusCode: 200 as const, body: outcome.body }
    : errorAnswer(exchange, outcome.error);
  send(wire, exchange, statusCode, body);
}

/** The error as the protocol of the request has it. */
function errorAnswer({ contentType, origin }: Pick<Exchange, 'contentType' | 'origin'>, error: KmsError): WireError {
  return contentType === xml ? toQueryError(error, origin.requestId) : toWireError(error);
}

export function send(wire: Wire, exchange: Exchange, statusCode: Answer['statusCode'], body: string): void {
  const { message, response, connection, contentType, origin } = exchange;
  const { requestId } = origin;
  if (!response.destroyed) {
    const close = endsConnection(wire, connection, gateOf(connection).isLast(message));
    const lengthBytes = writeAnswer(response, { statusCode, contentType, requestId, body, close });
    connection.unread.written(response, lengthBytes);
  }
  exchange.end();
}

/**
 * Is the answer in hand the last one on its connection? Behind an answer that says so Node closes, whatever the client has sent
 * meanwhile: that is answered first, for a while.
 * @param isLast Is there nothing of a request behind the one that is answered?
 */
export function endsConnection(wire: Wire, { openedAtMs, inFlight, socket }: Connection, isLast: boolean): boolean {
  const ends = wire.draining || wire.authentication.isOver(socket);
  return (ends && isLast) || wire.admission.isOver({ openedAtMs, inFlight: isLast ? inFlight : inFlight + 1 });
}

/**
 * For the asynchronous end of an exchange. The service promises never to reject; if it does, nothing is known to be on
 * record, so the connection ends without an answer, and the daemon goes on.
 */
export function finish(wire: Wire, exchange: Exchange, work: Promise<void>): void {
  work.catch((error: unknown) => failExchange(wire, exchange, error));
}

function failExchange(wire: Wire, { connection, end }: Exchange, error: unknown): void {
  fail(wire, connection.socket, error);
  end();
}

export function fail(wire: Wire, socket: Socket, error: unknown): void {
  const connection = wire.connections.find(socket);
  const payer = connection?.payer;
  wire.log.error({ payer, err: error }, 'an exchange failed; its connection is closed without an answer');
  // Nothing more begins on it, also when there is room again.
  connection?.reader.shut();
  socket.destroy();
}

/** Who is refused what. */
type Refused = Omit<Parameters<KmsService['refuse']>[0], keyof RequestOrigin>;

/** Puts the refusal on record and answers with it. */
export function refuse(wire: Wire, exchange: Exchange, refused: Refused, error: KmsError): void {
  finish(wire, exchange, recordRefusal(wire, exchange, refused, error));
}

async function recordRefusal(wire: Wire, exchange: Exchange, refused: Refused, error: KmsError): Promise<void> {
  const request = { ...exchange.origin, ...sourceOf(exchange.contentType), ...refused };
  answer(wire, exchange, await wire.service.refuse(request, error));
}

/** XML is what STS speaks. */
function sourceOf(contentType: ContentType): Pick<Refused, 'eventSource'> {
  return contentType === xml ? { eventSource: 'sts.amazonaws.com' } : {};
}

/** The body, or the rest of it, is still on its way and is not read, so the connection cannot go on. */
async function refuseUnread(wire: Wire, exchange: Exchange, error: KmsError): Promise<void> {
  const { message, response, connection, contentType, origin } = exchange;
  connection.reader.shut();
  connection.isRefused = true;
  message.on('data', (piece: Buffer) => piece.fill(0));
  const caller = await wire.authentication.peerOf(message.socket);
  const request = { ...origin, ...sourceOf(contentType), operationName: targetOf(message), caller };
  const outcome = await wire.service.refuse(request, error);
  const { statusCode, body } = errorAnswer(exchange, outcome.ok ? error : outcome.error);
  const text: Answer = { statusCode, contentType, requestId: origin.requestId, body, close: true };
  // An answer to an earlier request may still have to go out before this one; Node then keeps the order.
  if (response.socket === null) writeAnswer(response, text);
  else answerAndClose(connection, rawAnswer(text, message.method));
  exchange.end();
}

async function recordGone(wire: Wire, { message, contentType, origin }: Exchange): Promise<void> {
  const caller = await wire.authentication.peerOf(message.socket);
  const error = new KmsError('SerializationException', 'The request did not arrive completely.');
  await wire.service.refuse({ ...origin, ...sourceOf(contentType), operationName: targetOf(message), caller }, error);
}

/** Refuses what Node's parser could not read as a request, or not in time, or what it has no use for. */
export function refuseConnection(wire: Wire, connection: Connection, error: KmsError, operationName?: string): void {
  recordAndRefuse(wire, connection, error, operationName).catch((failed: unknown) => {
    fail(wire, connection.socket, failed);
  });
}

async function recordAndRefuse(
  wire: Wire,
  connection: Connection,
  error: KmsError,
  operationName = unnamedOperation,
): Promise<void> {
  const { socket } = connection;
  connection.isRefused = true;
  const origin: RequestOrigin = {
    requestId: newUuid(),
    receivedAtMs: Date.now(),
    sourceIPAddress: wire.authentication.sourceOf(socket),
    userAgent: null,
    payer: connection.payer,
  };
  const caller = await wire.authentication.peerOf(socket);
  const outcome = await wire.service.refuse({ ...origin, operationName, caller }, error);
  const { statusCode, body } = toWireError(outcome.ok ? error : outcome.error);
  const { requestId } = origin;
  const text = rawAnswer({ statusCode, contentType: awsJson, requestId, body, close: true });
  connection.writeAfterAnswers(() => answerAndClose(connection, text));
}

/** What the client wrote as its target, for the record. */
export function targetOf(message: IncomingMessage): string {
  const target = message.headers['x-amz-target'];
  if (typeof target === 'string') return target.slice(target.indexOf('.') + 1) || unnamedOperation;
  const [path = '', query] = message.url?.split('?') ?? [];
  const name = path.startsWith('/v1/') ? path.slice('/v1/'.length) : new URLSearchParams(query).get('Action');
  return name || unnamedOperation;
}
