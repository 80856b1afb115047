/**
 * What the daemon does of its own accord, for the account's root alone, because it tells of all keys:
 *
 *     GET  /upkeep            what is scheduled, waiting and late
 *     POST /upkeep/confirm    `{"work": "deletion us-east-1 1234abcd-…"}`: an operator's word that the clock is right, so that
 *                             what waits is done, and what is late is tried at once
 *
 * Nothing can be confirmed before its date. Both are on record, answered or refused.
 */

import type { FastifyInstance } from 'fastify';
import { KmsError } from '../kms/errors.ts';
import type { Announcer } from '../store/turns.ts';
import { plainJson } from './answers.ts';
import { answer, finish, receive, refuse, type Wire } from './exchange.ts';
import { rootOnlyRefusal } from './root-only.ts';

export interface UpkeepControl {
  list(): object;
  /** @throws KmsError `NotFoundException`, `ValidationException`. */
  confirm(work: string, by: Announcer): Promise<object>;
}

/** Names come from callers: what is none of ours is cut to this in the audit log. */
const maxWorkCharacters = 128;

export function addUpkeepRoutes(app: FastifyInstance, wire: Wire, control: UpkeepControl): void {
  app.get('/upkeep', (request, reply) => {
    reply.hijack();
    receive(wire, request.raw, reply.raw, plainJson, (exchange, caller) => {
      const operationName = 'ListUpkeep';
      const refusal = rootOnlyRefusal(caller, operationName);
      if (refusal !== undefined) {
        refuse(wire, exchange, { caller, operationName, eventSource: 'drawbridge' }, refusal);
        return;
      }
      const act = { ...exchange.origin, operationName, eventSource: 'drawbridge', caller, parameters: null };
      const done = wire.service.act({ ...act, effect: 'reads' }, async () => {
        return { body: JSON.stringify(control.list()), record: null };
      });
      finish(
        wire,
        request.raw.socket,
        done.then((outcome) => answer(wire, exchange, outcome)),
      );
    });
  });
  app.post('/upkeep/confirm', (request, reply) => {
    reply.hijack();
    receive(wire, request.raw, reply.raw, plainJson, (exchange, caller, body) => {
      const operationName = 'ConfirmUpkeep';
      const refusal = rootOnlyRefusal(caller, operationName);
      if (refusal !== undefined) {
        refuse(wire, exchange, { caller, operationName, eventSource: 'drawbridge' }, refusal);
        return;
      }
      const work = workOf(body);
      const act = {
        ...exchange.origin,
        operationName,
        eventSource: 'drawbridge',
        effect: 'changes' as const,
        caller,
        parameters: work === undefined ? null : { work: work.slice(0, maxWorkCharacters) },
      };
      const done = wire.service.act(act, async (by) => {
        if (work === undefined) {
          throw new KmsError(
            'ValidationException',
            'The request names what is confirmed, and nothing else: {"work": "NAME"}.',
          );
        }
        return { body: JSON.stringify(await control.confirm(work, by)), record: null };
      });
      finish(
        wire,
        request.raw.socket,
        done.then((outcome) => answer(wire, exchange, outcome)),
      );
    });
  });
}

/** `undefined` for what names nothing. */
function workOf(body: Buffer): string | undefined {
  try {
    const { work, ...others } = JSON.parse(body.toString('utf8')) as Record<string, unknown>;
    return typeof work === 'string' && Object.keys(others).length === 0 ? work : undefined;
  } catch {
    // Answered, and put on record, as what names nothing.
    return undefined;
  }
}
