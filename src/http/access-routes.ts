/**
 * Questions about access, for the account's root alone, who may read and change every document that they are about:
 *
 *     POST /access/explain    why somebody may or may not, and what would change it
 *     POST /access/who-can    who may
 *     POST /access/simulate   what requests of the past would be told under other documents
 *
 * They change nothing. Questions, answered or refused, are on record by operation and principal. A caller of KMS is told
 * no more by them than AWS tells, because he is not answered here.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { Caller } from '../identity/caller.ts';
import { KmsError } from '../kms/errors.ts';
import { whenVerified } from '../store/record-source.ts';
import { plainJson } from './answers.ts';
import { answer, finish, receive, refuse, type Wire } from './exchange.ts';
import { rootOnlyRefusal } from './root-only.ts';

/** Each takes what the request's JSON says, and who asks; it throws a KmsError where that is no question. */
export interface AccessSource {
  explain(question: unknown, caller: Caller): object;
  whoCan(question: unknown, caller: Caller): object;
  simulate(question: unknown, caller: Caller): object;
}

const routes = [
  { path: 'explain', operationName: 'ExplainAccess', ask: 'explain' },
  { path: 'who-can', operationName: 'ListWhoCan', ask: 'whoCan' },
  { path: 'simulate', operationName: 'SimulateChanges', ask: 'simulate' },
] as const satisfies readonly { path: string; operationName: string; ask: keyof AccessSource }[];

export function addAccessRoutes(app: FastifyInstance, wire: Wire, source: AccessSource): void {
  for (const { path, operationName, ask } of routes) {
    app.post(`/access/${path}`, (request, reply) => {
      reply.hijack();
      accessRequest(wire, request.raw, reply.raw, operationName, (...asked) => source[ask](...asked));
    });
  }
}

function accessRequest(
  wire: Wire,
  message: IncomingMessage,
  response: ServerResponse,
  operationName: string,
  ask: (question: unknown, caller: Caller) => object,
): void {
  receive(wire, message, response, plainJson, (exchange, caller, body) => {
    const refusal = rootOnlyRefusal(caller, operationName);
    if (refusal !== undefined) {
      refuse(wire, exchange, { caller, operationName, eventSource: 'iam.amazonaws.com' }, refusal);
      return;
    }
    const question = parseQuestion(body);
    const act = {
      ...exchange.origin,
      operationName,
      eventSource: 'iam.amazonaws.com',
      effect: 'reads' as const,
      caller,
      parameters: recordOf(question),
    };
    const asked = wire.service.act(act, async () => {
      if (question === undefined) throw new KmsError('SerializationException', 'The request body is not JSON');
      const answered = await whenVerified(() => ask(question, caller));
      return { body: JSON.stringify(answered), record: null };
    });
    finish(
      wire,
      exchange,
      asked.then((outcome) => answer(wire, exchange, outcome)),
    );
  });
}

function parseQuestion(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    // Answered, and put on record, with an error of its own.
    return undefined;
  }
}

/** Who was asked about, and what. */
function recordOf(question: unknown): Readonly<Record<string, unknown>> | null {
  if (typeof question !== 'object' || question === null) return null;
  const { Operation, Principal, UnixUser } = question as Readonly<Record<string, unknown>>;
  const texts = Object.entries({ operation: Operation, principal: Principal, unixUser: UnixUser });
  return Object.fromEntries(texts.filter(([, value]) => typeof value === 'string'));
}
