/**
 * Gives keys what no request can: a state to which their policies let nobody bring them, a date that has passed.
 *
 * It is the operator's own way in: over an instance that is stopped, with its configuration, its PIN and the service key in
 * its token, so that the records it writes are as genuine as the daemon's.
 */

import { join } from 'node:path';
import { loadConfiguration } from '../../src/config/load.ts';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { openStore } from '../../src/daemon/data-folder.ts';
import { createLog } from '../../src/daemon/log.ts';
import { replaced } from '../../src/store/records/changes.ts';
import type { KeyRecord } from '../../src/store/records/records.ts';
import { Turns } from '../../src/store/turns.ts';

/** @param dir The folder of an instance that is not running. */
export async function changeKeys(
  dir: string,
  keyIds: ReadonlySet<string>,
  members: Partial<Pick<KeyRecord, 'state' | 'deletionDateMs'>>,
): Promise<void> {
  const { dataDir, regions, keyStores, serviceKeyStore } = await loadConfiguration(join(dir, 'drawbridge.yaml'));
  const { store, useServiceKey } = await openStore({ dataDir, region: regions[0].region });
  try {
    const keyStore = await openConfiguredKeyStore(serviceKeyStore, keyStores, process.env, createLog('error'));
    try {
      await useServiceKey(keyStore);
      const { key: records } = await store.load();
      const chosen = records.filter(({ keyId }) => keyIds.has(keyId));
      if (chosen.length < keyIds.size) throw new Error(`of ${keyIds.size} keys, ${chosen.length} are in the store`);
      const changes = chosen.map((record) => replaced('key', record, members));
      await new Turns(store).take(() => ({ changes, response: undefined }));
    } finally {
      await keyStore.close();
    }
  } finally {
    await store.close();
  }
}
