/** `DeleteCustomKeyStore`: removes a custom key store that is disconnected and has no keys. Nothing in its HSM is touched. */

import { KmsError } from '../../kms/errors.ts';
import { removed } from '../../store/records/changes.ts';
import { anyResource, customKeyStoreId } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { invalidState, recordOf, toldOf } from './key-store-request.ts';

export const deleteCustomKeyStore = operation({
  name: 'DeleteCustomKeyStore',
  request: object({ CustomKeyStoreId: customKeyStoreId }),
  response: object({}),
  needs: { resources: [{ action: 'kms:DeleteCustomKeyStore', resource: anyResource }] },
  effect: 'changes',
  record: ['CustomKeyStoreId'],
  decide({ request: { CustomKeyStoreId: id }, directory, annotate }) {
    const stores = directory.customKeyStores;
    const record = recordOf(stores, id);
    annotate(toldOf(record));
    const state = stores.connectionState(id);
    if (state !== 'DISCONNECTED') throw invalidState(id, state);
    const materials = [...directory.onRecord.materialsIn(id)];
    if (materials.some((material) => material.state !== 'Creating')) {
      throw new KmsError(
        'CustomKeyStoreHasCMKsException',
        `Custom key store with CustomKeyStoreId ${id} contains KMS keys.`,
      );
    }
    const damaged = [...directory.regions.values()].reduce((sum, each) => sum + each.counts().damaged, 0);
    if (damaged > 0) {
      throw new KmsError(
        'CustomKeyStoreHasCMKsException',
        `${damaged} keys have a record that does not verify, and may be in the custom key store ${id}: restore them, or delete them, first.`,
      );
    }
    // What did not finish belongs to no key; an object of it that there may be in the HSM stays there.
    const unfinished = materials.map((material) => removed('backingKey', material));
    return { changes: [removed('customKeyStore', record), ...unfinished], response: {} };
  },
});
