/**
 * The inside of an instance that is stopped: its records and the objects in its token, through the operator's own way in, with
 * its configuration, its PIN and its service key.
 */

import { join } from 'node:path';
import type { Configuration } from '../../src/config/configuration-schema.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { openStore } from '../../src/daemon/data-folder.ts';
import { createLog } from '../../src/daemon/log.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { serviceKeyLabelPrefix } from '../../src/hsm/key-store.ts';
import type { SqliteStore } from '../../src/store/sqlite-store.ts';

export interface Inside {
  readonly configuration: Configuration;
  readonly store: SqliteStore;
  readonly keyStore: KeyStore;
}

/** @param dir The folder of an instance that is not running. */
export async function inside<T>(dir: string, use: (inside: Inside) => Promise<T>): Promise<T> {
  const configuration = await loadConfiguration(join(dir, 'drawbridge.yaml'));
  const { dataDir, regions, keyStores, serviceKeyStore } = configuration;
  const { store, useServiceKey } = await openStore({ dataDir, region: regions[0].region });
  try {
    const keyStore = await openConfiguredKeyStore(serviceKeyStore, keyStores, process.env, createLog('error'));
    try {
      await useServiceKey(keyStore);
      return await use({ configuration, store, keyStore });
    } finally {
      await keyStore.close();
    }
  } finally {
    await store.close();
  }
}

/** How records and token differ. Both are empty when nothing was left half done. */
export interface Differences {
  /** The ids of objects in the token that no record names, and the log neither. */
  readonly orphans: readonly string[];
  /** The ids of material that is there by its record, and not in the token. */
  readonly missing: readonly string[];
}

/** @param log Everything that was logged since the last time that nothing differed. */
export async function differencesIn(dir: string, log: string): Promise<Differences> {
  return inside(dir, async ({ store, keyStore }) => {
    const { backingKey, wrappingKey, quarantined } = await store.load();
    if (quarantined.length > 0) throw new Error(`records that do not verify: ${JSON.stringify(quarantined)}`);
    const objects = await keyStore.listKeys();
    const found = new Set<string>(objects.map(({ backingKeyId }) => backingKeyId));
    const records = [...backingKey, ...wrappingKey];
    const named = new Set<string>(
      records.flatMap(({ backingKeyId, state }) => (state === 'Removed' ? [] : [backingKeyId])),
    );
    return {
      orphans: objects
        .filter(({ label }) => !label.startsWith(serviceKeyLabelPrefix))
        .map(({ backingKeyId }) => String(backingKeyId))
        .filter((id) => !named.has(id) && !log.includes(id)),
      missing: records.flatMap(({ backingKeyId, state }) =>
        state === 'Active' && !found.has(backingKeyId) ? [backingKeyId] : [],
      ),
    };
  });
}
