/**
 * What an operator does beside the operations of KMS: as JSON, for the account's root alone, on record whether it was done or refused.
 */

import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ActResult } from '../pipeline/service.ts';
import type { Announcer } from '../store/turns.ts';
import { plainJson } from './answers.ts';
import { answer, finish, receive, refuse, type Wire } from './exchange.ts';
import { rootOnlyRefusal } from './root-only.ts';

export interface OperatorAct {
  /** As it is called in the audit log. */
  readonly operationName: string;
  readonly effect: 'reads' | 'uses' | 'changes';
  /** What is put on record of the request; the body is that which the caller sent. */
  readonly parameters?: (body: Buffer) => Readonly<Record<string, unknown>> | null;
  readonly perform: (body: Buffer, by: Announcer) => Promise<ActResult>;
}

const eventSource = 'drawbridge';

export function operatorAct(wire: Wire, request: FastifyRequest, reply: FastifyReply, act: OperatorAct): void {
  const { operationName, effect, parameters = () => null, perform } = act;
  reply.hijack();
  receive(wire, request.raw, reply.raw, plainJson, (exchange, caller, body) => {
    const refusal = rootOnlyRefusal(caller, operationName);
    if (refusal !== undefined) {
      refuse(wire, exchange, { caller, operationName, eventSource }, refusal);
      return;
    }
    const recorded = { ...exchange.origin, operationName, eventSource, effect, caller, parameters: parameters(body) };
    const done = wire.service.act(recorded, (by) => perform(body, by));
    finish(
      wire,
      exchange,
      done.then((outcome) => answer(wire, exchange, outcome)),
    );
  });
}

/** The members of a JSON object; `undefined` for what is none. Answered, and put on record, as what names nothing. */
export function membersOf(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const members: unknown = JSON.parse(body.toString('utf8'));
    const isObject = typeof members === 'object' && members !== null && !Array.isArray(members);
    return isObject ? (members as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}
