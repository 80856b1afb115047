/**
 * Domain keys (`keys/life/domain-keys.ts`), for the account's root alone; on record:
 *
 *     POST /domains/KEY-STORE/rotate    makes another one, under which everything new is wrapped
 *     POST /domains/KEY-STORE/retire    destroys the former ones under which nothing is wrapped, and names those that are needed
 */

import type { FastifyInstance } from 'fastify';
import type { ActResult } from '../pipeline/service.ts';
import type { Wire } from './exchange.ts';
import { operatorAct } from './operator-acts.ts';

export interface DomainControl {
  /** @throws KmsError for a key store that there is not, that has no domain key, or that is in the way. */
  rotate(keyStore: string): Promise<{ readonly domainKeyId: string }>;
  /** The same; and `ConflictException` while there are keys of which it is not known what they need. */
  retire(keyStore: string): Promise<{
    readonly retired: readonly string[];
    readonly needed: readonly { readonly domainKeyId: string; readonly backingKeys: number }[];
  }>;
}

/** Names come from callers: what is none of a key store is cut to this in the audit log. */
const maxNameCharacters = 64;

export function addDomainRoutes(app: FastifyInstance, wire: Wire, control: DomainControl): void {
  const acts = [
    ['rotate', 'RotateDomainKey'],
    ['retire', 'RetireDomainKeys'],
  ] as const;
  for (const [act, operationName] of acts) {
    app.post<{ Params: { name: string } }>(`/domains/:name/${act}`, (request, reply) => {
      const { name } = request.params;
      operatorAct(wire, request, reply, {
        operationName,
        effect: 'changes',
        parameters: () => ({ keyStore: name.slice(0, maxNameCharacters) }),
        async perform(): Promise<ActResult> {
          const done = await control[act](name);
          return { body: JSON.stringify(done), record: { ...done } };
        },
      });
    });
  }
}
