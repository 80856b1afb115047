/** Puts dates of deletion that no request can choose on keys of an instance that is stopped, as genuinely as the daemon would. */

import { join } from 'node:path';
import { loadConfiguration } from '../../src/config/load.ts';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { openStore } from '../../src/daemon/data-folder.ts';
import { createLog } from '../../src/daemon/log.ts';
import { replaced } from '../../src/store/records/changes.ts';

/** @param dir The folder of an instance that is not running. */
export async function setDeletionDate(dir: string, keyId: string, deletionDate: Date): Promise<void> {
  const { dataDir, region, keyStores } = await loadConfiguration(join(dir, 'drawbridge.yaml'));
  const { store, useServiceKey } = await openStore({ dataDir, region });
  try {
    const keyStore = await openConfiguredKeyStore('default', keyStores.default, process.env, createLog('error'));
    try {
      await useServiceKey(keyStore);
      const record = (await store.load()).key.find((each) => each.keyId === keyId);
      if (record === undefined) throw new Error(`there is no key ${keyId}`);
      await store.write([replaced('key', record, { deletionDateMs: deletionDate.getTime() })]);
    } finally {
      await keyStore.close();
    }
  } finally {
    await store.close();
  }
}
