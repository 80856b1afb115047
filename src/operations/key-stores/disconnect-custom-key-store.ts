/**
 * `DisconnectCustomKeyStore`: ends the connection of a custom key store, or the attempt to make one. Its keys are unavailable from the
 * moment at which this is on record; what was begun with them ends first.
 */

import { codeAfterDisconnect } from '../../kms/connection-states.ts';
import { replaced } from '../../store/records/changes.ts';
import { anyResource, customKeyStoreId } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { invalidState, recordOf, toldOf } from './key-store-request.ts';

/** For the hosts to end, so that most answers mean that it is done; a library may take longer. */
const patienceMs = 5_000;

export const disconnectCustomKeyStore = operation({
  name: 'DisconnectCustomKeyStore',
  request: object({ CustomKeyStoreId: customKeyStoreId }),
  response: object({}),
  needs: { resources: [{ action: 'kms:DisconnectCustomKeyStore', resource: anyResource }] },
  effect: 'changes',
  revokes: true,
  record: ['CustomKeyStoreId'],
  async prepare({ directory }) {
    return { stores: directory.customKeyStores, undo: async () => undefined };
  },
  decide({ request: { CustomKeyStoreId: id }, directory, annotate }) {
    const stores = directory.customKeyStores;
    const record = recordOf(stores, id);
    annotate(toldOf(record));
    const state = stores.connectionState(id);
    if (state === 'DISCONNECTED' || state === 'DISCONNECTING') throw invalidState(id, state);
    const connectionErrorCode = codeAfterDisconnect(record.connectionErrorCode);
    const disconnected = replaced('customKeyStore', record, { connection: 'DISCONNECTED', connectionErrorCode });
    return { changes: [disconnected], response: {} };
  },
  async conclude({ request: { CustomKeyStoreId: id }, prepared: { stores } }) {
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, patienceMs);
    await Promise.race([stores.closed(id), late.promise]);
    clearTimeout(timer);
  },
});
