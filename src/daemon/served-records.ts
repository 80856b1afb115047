/** Are the records those of this configuration: of its Regions, and in key stores that it names? */

import type { Configuration, RegionConfiguration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { isCustomKeyStoreId } from '../kms/names.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';

/** @throws ConfigurationError, with what to write. */
export function assertRecordsAreServed(
  loaded: LoadedMetadata,
  { regions, keyStores }: Pick<Configuration, 'regions' | 'keyStores'>,
): void {
  assertRegionsAreServed(loaded, regions);
  assertKeyStoresAreConfigured(loaded, keyStores);
}

/** Keys of another Region would seem to be gone; whoever renamed the Region has to know that their ARNs would be others. */
function assertRegionsAreServed({ key }: LoadedMetadata, regions: readonly RegionConfiguration[]): void {
  const served = regions.map(({ region }) => region);
  const other = key.find((record) => !served.includes(record.region));
  if (other === undefined) return;
  const names = served.map((region) => `\`${region}\``).join(', ');
  throw new ConfigurationError(
    `the metadata has keys of the Region \`${other.region}\`, and the configuration serves ${names}; set \`region: ${other.region}\``,
  );
}

/** Whoever gave a key store another name would find none of its keys usable. */
function assertKeyStoresAreConfigured({ backingKey }: LoadedMetadata, keyStores: ReadonlyMap<string, unknown>): void {
  // One that CreateCustomKeyStore made is on record, and may be away.
  const other = backingKey.find(({ keyStore }) => !keyStores.has(keyStore) && !isCustomKeyStoreId(keyStore));
  if (other === undefined) return;
  const names = [...keyStores.keys()].map((name) => `\`${name}\``).join(', ');
  throw new ConfigurationError(
    `the metadata has keys in the key store \`${other.keyStore}\`, and the configuration names ${names}; a key store that has keys keeps its name`,
  );
}
