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
import type { Wire } from './exchange.ts';
import { membersOf, operatorAct } from './operator-acts.ts';

export interface UpkeepControl {
  list(): object;
  /** @throws KmsError `NotFoundException`, `ValidationException`. */
  confirm(work: string, by: Announcer): Promise<object>;
}

/** Names come from callers: what is none of ours is cut to this in the audit log. */
const maxWorkCharacters = 128;

export function addUpkeepRoutes(app: FastifyInstance, wire: Wire, control: UpkeepControl): void {
  app.get('/upkeep', (request, reply) =>
    operatorAct(wire, request, reply, {
      operationName: 'ListUpkeep',
      effect: 'reads',
      perform: async () => ({ body: JSON.stringify(control.list()), record: null }),
    }),
  );
  app.post('/upkeep/confirm', (request, reply) =>
    operatorAct(wire, request, reply, {
      operationName: 'ConfirmUpkeep',
      effect: 'changes',
      parameters(body) {
        const work = workOf(body);
        return work === undefined ? null : { work: work.slice(0, maxWorkCharacters) };
      },
      async perform(body, by) {
        const work = workOf(body);
        if (work === undefined) {
          throw new KmsError(
            'ValidationException',
            'The request names what is confirmed, and nothing else: {"work": "NAME"}.',
          );
        }
        return { body: JSON.stringify(await control.confirm(work, by)), record: null };
      },
    }),
  );
}

/** `undefined` for what names nothing. */
function workOf(body: Buffer): string | undefined {
  const { work, ...others } = membersOf(body) ?? {};
  return typeof work === 'string' && Object.keys(others).length === 0 ? work : undefined;
}
