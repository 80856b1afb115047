/**
 * `ConnectCustomKeyStore`: begins to connect a custom key store to its HSM, and answers at once. How it ends, DescribeCustomKeyStores tells.
 *
 * A password that the HSM has refused is not presented again: the store fails with the code of that time, until UpdateCustomKeyStore
 * gave another.
 */

import { isPasswordRefusal } from '../../kms/connection-states.ts';
import { replaced } from '../../store/records/changes.ts';
import { anyResource, customKeyStoreId } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { invalidState, recordOf, toldOf } from './key-store-request.ts';

export const connectCustomKeyStore = operation({
  name: 'ConnectCustomKeyStore',
  request: object({ CustomKeyStoreId: customKeyStoreId }),
  response: object({}),
  needs: { resources: [{ action: 'kms:ConnectCustomKeyStore', resource: anyResource }] },
  effect: 'changes',
  record: ['CustomKeyStoreId'],
  decide({ request: { CustomKeyStoreId: id }, directory, annotate }) {
    const stores = directory.customKeyStores;
    const record = recordOf(stores, id);
    annotate(toldOf(record));
    const state = stores.connectionState(id);
    if (state === 'FAILED' || state === 'DISCONNECTING') throw invalidState(id, state);
    if (state !== 'DISCONNECTED') return { changes: [], response: {} };
    const { connectionErrorCode } = record;
    const connection = isPasswordRefusal(connectionErrorCode) ? 'FAILED' : 'CONNECTING';
    return { changes: [replaced('customKeyStore', record, { connection })], response: {} };
  },
});
