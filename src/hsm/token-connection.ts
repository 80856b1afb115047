/**
 * One connection to a token before it serves: what can be asked of it there, to find out whether the token is ours.
 *
 * A token can be exchanged while some of its hosts are connected to the former one, and a group of HSMs answers with whichever is there. So what one
 * connection has shown says nothing about the next one: each is asked over its own session, and has no other call before.
 */

import { keyField, packed } from './call-fields.ts';
import { callOn, type HostLane } from './host-lane.ts';
import type { KeyStore, KeyStoreCapabilities } from './key-store.ts';
import * as replies from './replies.ts';
import { asEnforced } from './token-protection.ts';

export type TokenConnection = Pick<KeyStore, 'describeKey' | 'macs' | 'capabilities'>;

/**
 * Finds out whether the token at the other end is one of ours.
 * @throws KeyStoreError when it does not tell; anything else, in words for operators, when it is not.
 */
export type ConnectionProof = (connection: TokenConnection) => Promise<void>;

/** @param found What its host found out when it opened the token. */
export function connectionOver(lane: HostLane, found: KeyStoreCapabilities): TokenConnection {
  return {
    capabilities: () => found,
    describeKey: async (key) => {
      const attributesIn = (reply: readonly Buffer[]) => replies.attributes(reply, key.backingKeyId);
      return asEnforced(await callOn(lane, 'describeKey', [keyField(key)], attributesIn), found.protection);
    },
    macs: (key) => {
      const { algorithm, messages } = key;
      const fields = [keyField(key), Buffer.from(algorithm), packed(messages)];
      return callOn(lane, 'macs', fields, ([field]) => replies.macs(field, algorithm, messages.length));
    },
  };
}
