/**
 * `POST /key-stores/NAME/reconnect`: an operator's word that the token may be logged into again, after a PIN was refused.
 *
 * Nothing logs in by itself after a refused PIN, since a wrong one, tried again and again, locks the token. For the
 * account's root alone; on record.
 */

import type { FastifyInstance } from 'fastify';
import { KeyStoreError } from '../hsm/key-store.ts';
import { KmsError } from '../kms/errors.ts';
import type { ActResult } from '../pipeline/service.ts';
import { plainJson } from './answers.ts';
import { answer, finish, receive, refuse, type Wire } from './exchange.ts';
import { rootOnlyRefusal } from './root-only.ts';

export interface KeyStoreControl {
  /**
   * Logs in again, once. `undefined` when there is no such key store.
   * @throws KeyStoreError when the token is not there or refuses the PIN again.
   */
  reconnect(name: string): Promise<{ readonly state: string } | undefined>;
}

const operationName = 'ReconnectKeyStore';

export function addKeyStoreRoutes(app: FastifyInstance, wire: Wire, control: KeyStoreControl): void {
  app.post<{ Params: { name: string } }>('/key-stores/:name/reconnect', (request, reply) => {
    reply.hijack();
    const { name } = request.params;
    receive(wire, request.raw, reply.raw, plainJson, (exchange, caller) => {
      const refusal = rootOnlyRefusal(caller, operationName);
      if (refusal !== undefined) {
        refuse(wire, exchange, { caller, operationName, eventSource: 'drawbridge' }, refusal);
        return;
      }
      const act = {
        ...exchange.origin,
        operationName,
        eventSource: 'drawbridge',
        effect: 'uses' as const,
        caller,
        parameters: { keyStore: name.slice(0, maxNameCharacters) },
      };
      const done = wire.service.act(act, () => reconnect(control, name));
      finish(
        wire,
        request.raw.socket,
        done.then((outcome) => answer(wire, exchange, outcome)),
      );
    });
  });
}

/** Names come from callers: what is none of a key store is cut to this in the audit log. */
const maxNameCharacters = 64;

async function reconnect(control: KeyStoreControl, name: string): Promise<ActResult> {
  try {
    const state = await control.reconnect(name);
    if (state === undefined) throw new KmsError('NotFoundException', `There is no key store of this name.`);
    return { body: JSON.stringify(state), record: null };
  } catch (error) {
    // Whoever may ask is the operator, who needs to know what the token said.
    if (error instanceof KeyStoreError) throw new KmsError('KeyUnavailableException', error.message, error);
    throw error;
  }
}
