/**
 * What the daemon does of its own accord, for the account's root alone, because it tells of all keys:
 *
 *     GET  /upkeep            what is scheduled, waiting and late
 *     POST /upkeep/confirm    `{"work": "deletion us-east-1 1234abcd-…"}`: an operator's word that the clock is right, so that
 *                             what waits is done, and what is late is tried at once. With `"leaveMaterial": true` a deletion, or the
 *                             end of a move, is done although the HSM cannot be reached: what is in there stays there
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
  confirm(work: string, by: Announcer, word: { readonly leavesMaterial: boolean }): Promise<object>;
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
        const confirmed = confirmedBy(body);
        if (confirmed === undefined) return null;
        const { work, leavesMaterial } = confirmed;
        return { work: work.slice(0, maxWorkCharacters), ...(leavesMaterial && { leaveMaterial: true }) };
      },
      async perform(body, by) {
        const confirmed = confirmedBy(body);
        if (confirmed === undefined) {
          throw new KmsError(
            'ValidationException',
            'The request names what is confirmed, and nothing else but "leaveMaterial": {"work": "NAME"}.',
          );
        }
        const { work, leavesMaterial } = confirmed;
        return { body: JSON.stringify(await control.confirm(work, by, { leavesMaterial })), record: null };
      },
    }),
  );
}

/** `undefined` for what names nothing. */
function confirmedBy(body: Buffer): { readonly work: string; readonly leavesMaterial: boolean } | undefined {
  const { work, leaveMaterial = false, ...others } = membersOf(body) ?? {};
  if (typeof work !== 'string' || typeof leaveMaterial !== 'boolean') return undefined;
  return Object.keys(others).length === 0 ? { work, leavesMaterial: leaveMaterial } : undefined;
}
