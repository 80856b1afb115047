/**
 * Moving keys between residencies and key stores (`keys/moves/key-moves.ts`), for the account's root alone; on record:
 *
 *     POST /moves    `{"keys": ["alias/app", …], "to": "other", "residency": "wrapped", "dryRun": false}`: these keys
 *                    `{"from": "default", "after": null, "to": …}`, then what the answer said: all that have material there
 *
 * Some keys at a time, so that whoever asks can show how far it is, everybody else's requests come between, and nothing is lost when it ends in
 * the middle: a key that is where it is wanted is passed over.
 */

import type { FastifyInstance } from 'fastify';
import { KmsError } from '../kms/errors.ts';
import { type Residency, residencies } from '../kms/residencies.ts';
import type { Announcer } from '../store/turns.ts';
import type { CensusPlace } from './census-routes.ts';
import type { Wire } from './exchange.ts';
import { membersOf, operatorAct } from './operator-acts.ts';

/** What is asked for, of keys that are named or of all that have material in a key store. */
export type MoveRequest = {
  /** Where it is to live; `null`: in the key store in which it does. */
  readonly to: string | null;
  /** How; `null`: as it does. */
  readonly residency: Residency | null;
  readonly dryRun: boolean;
} & ({ readonly keys: readonly string[] } | { readonly from: string; readonly after: CensusPlace | null });

export interface MoveControl {
  /** @throws KmsError for a request that names no key store of the configuration, or nothing to be done. */
  part(
    request: MoveRequest,
    by: Announcer,
  ): Promise<{
    readonly moved: readonly { readonly keyId: string }[];
    readonly refused: readonly { readonly keyId: string }[];
  }>;
}

/** As many as one request moves; whoever has more asks again. */
export const maxNamedKeys = 16;
/** Names come from callers: none is longer than an alias ARN. */
const maxNameCharacters = 320;

export function addMoveRoutes(app: FastifyInstance, wire: Wire, control: MoveControl): void {
  app.post('/moves', (request, reply) =>
    operatorAct(wire, request, reply, {
      operationName: 'MoveKeys',
      effect: 'changes',
      parameters: (body) => ({ ...moveOf(body) }),
      async perform(body, by) {
        const move = moveOf(body);
        if (move === undefined) throw new KmsError('ValidationException', wanted);
        const part = await control.part(move, by);
        const record = {
          moved: part.moved.map(({ keyId }) => keyId),
          refused: part.refused.map(({ keyId }) => keyId),
        };
        return { body: JSON.stringify(part), record };
      },
    }),
  );
}

const wanted = `The request has the members keys (at most ${maxNamedKeys}), or from and after; and to, residency (${residencies.join(', ')}), of which one may be null, and dryRun.`;

/** `undefined` for what is none. */
function moveOf(body: Buffer): MoveRequest | undefined {
  const { keys, from, after, to, residency, dryRun, ...others } = membersOf(body) ?? {};
  const goal = residency === null ? null : residencies.find((each) => each === residency);
  const isTarget = (to === null || isName(to)) && goal !== undefined && (to !== null || goal !== null);
  if (!isTarget || typeof dryRun !== 'boolean' || Object.keys(others).length > 0) return undefined;
  const target = { to, residency: goal, dryRun };
  if (Array.isArray(keys)) {
    const names: readonly unknown[] = keys;
    const isNamed = from === undefined && after === undefined && names.length > 0 && names.length <= maxNamedKeys;
    return isNamed && names.every(isName) ? { ...target, keys: names } : undefined;
  }
  const place = placeOf(after);
  return keys === undefined && isName(from) && place !== undefined ? { ...target, from, after: place } : undefined;
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= maxNameCharacters;
}

/** `null` is the beginning. */
function placeOf(after: unknown): CensusPlace | null | undefined {
  if (after === null) return null;
  const { region, keyId } = (typeof after === 'object' ? after : {}) as Record<string, unknown>;
  // An empty one is the beginning of a Region.
  return isName(region) && (keyId === '' || isName(keyId)) ? { region, keyId } : undefined;
}
