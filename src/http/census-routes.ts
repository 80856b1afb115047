/**
 * The census, for the account's root alone:
 *
 *     POST /census            `{"after": null}`, then what the answer said: some keys are used, and how that went is told
 *     POST /census/orphans    what is in the HSMs and named by no record
 *
 * Some keys at a time, so that whoever asks can show how far it is, and everybody else's requests come between.
 */

import type { FastifyInstance } from 'fastify';
import { KmsError } from '../kms/errors.ts';
import type { Wire } from './exchange.ts';
import { membersOf, operatorAct } from './operator-acts.ts';

/** The key behind which the next part begins. */
export interface CensusPlace {
  readonly region: string;
  readonly keyId: string;
}

export interface CensusControl {
  /** @throws KmsError `ValidationException` for a Region that is not served. */
  part(after: CensusPlace | null): Promise<object>;
  orphans(): Promise<object>;
}

export function addCensusRoutes(app: FastifyInstance, wire: Wire, control: CensusControl): void {
  app.post('/census', (request, reply) =>
    operatorAct(wire, request, reply, {
      operationName: 'TakeCensus',
      effect: 'uses',
      parameters: (body) => ({ after: placeOf(body) ?? null }),
      async perform(body) {
        const after = placeOf(body);
        if (after === undefined) {
          const message = 'The request has the form {"after": null} or {"after": {"region": "REGION", "keyId": "ID"}}.';
          throw new KmsError('ValidationException', message);
        }
        return { body: JSON.stringify(await control.part(after)), record: null };
      },
    }),
  );
  app.post('/census/orphans', (request, reply) =>
    operatorAct(wire, request, reply, {
      operationName: 'ListOrphans',
      effect: 'reads',
      perform: async () => ({ body: JSON.stringify(await control.orphans()), record: null }),
    }),
  );
}

/** Names come from callers: none is longer in the audit log than one of ours could be. */
const maxNameCharacters = 64;

/** `undefined` for what is no place; `null` is the beginning. */
function placeOf(body: Buffer): CensusPlace | null | undefined {
  const { after } = membersOf(body) ?? {};
  if (after === null) return null;
  const { region, keyId } = (typeof after === 'object' ? after : {}) as Record<string, unknown>;
  const isName = (name: unknown): name is string => typeof name === 'string' && name.length <= maxNameCharacters;
  return isName(region) && isName(keyId) ? { region, keyId } : undefined;
}
