/**
 * `POST /key-stores/NAME/reconnect`, and `POST /key-stores/NAME/members/MEMBER/reconnect` of one that has several members: an
 * operator's word that the token may be logged into again, after a PIN was refused or it was none of ours.
 *
 * Nothing logs in by itself after a refused PIN, since a wrong one, tried again and again, locks the token. For the
 * account's root alone; on record.
 */

import type { FastifyInstance } from 'fastify';
import { KeyStoreError } from '../hsm/key-store.ts';
import { KmsError } from '../kms/errors.ts';
import type { ActResult } from '../pipeline/service.ts';
import type { Wire } from './exchange.ts';
import { operatorAct } from './operator-acts.ts';

export interface KeyStoreControl {
  /**
   * Logs in again, once. `undefined` when the key store has no such member.
   * @param member Absent: all its tokens that are left alone.
   * @throws KeyStoreError when the token is not there, refuses the PIN again or is none of ours; KmsError `NotFoundException` for no key store.
   */
  reconnect(name: string, member?: string): Promise<{ readonly state: string } | undefined>;
}

export function addKeyStoreRoutes(app: FastifyInstance, wire: Wire, control: KeyStoreControl): void {
  app.post<{ Params: { name: string } }>('/key-stores/:name/reconnect', (request, reply) => {
    const { name } = request.params;
    operatorAct(wire, request, reply, {
      operationName: 'ReconnectKeyStore',
      effect: 'uses',
      parameters: () => ({ keyStore: name.slice(0, maxNameCharacters) }),
      perform: () => reconnect(control, name),
    });
  });
  app.post<{ Params: { name: string; member: string } }>(
    '/key-stores/:name/members/:member/reconnect',
    (request, reply) => {
      const { name, member } = request.params;
      const cut = (text: string): string => text.slice(0, maxNameCharacters);
      operatorAct(wire, request, reply, {
        operationName: 'ReconnectKeyStore',
        effect: 'uses',
        parameters: () => ({ keyStore: cut(name), member: cut(member) }),
        perform: () => reconnect(control, name, member),
      });
    },
  );
}

/** Names come from callers: what is none of a key store is cut to this in the audit log. */
const maxNameCharacters = 64;

async function reconnect(control: KeyStoreControl, name: string, member?: string): Promise<ActResult> {
  try {
    const state = await control.reconnect(name, member);
    if (state === undefined)
      throw new KmsError(
        'NotFoundException',
        `The key store \`${name}\` has no member \`${member}\`; \`drawbridge status\` shows those that there are.`,
      );
    return { body: JSON.stringify(state), record: null };
  } catch (error) {
    // Whoever may ask is the operator, who needs to know what the token said.
    if (error instanceof KeyStoreError) throw new KmsError('KeyUnavailableException', error.message, error);
    throw error;
  }
}
