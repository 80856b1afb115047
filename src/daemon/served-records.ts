/** Are the records those of this configuration: of its Regions, and in key stores that it names? */

import type { RegionConfiguration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { isCustomKeyStoreId } from '../kms/names.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';

/** @throws ConfigurationError, with what to write. */
export function assertRecordsAreServed(
  loaded: Pick<LoadedMetadata, 'key' | 'backingKey'>,
  {
    regions,
    keyStores,
  }: { readonly regions: readonly NamedRegion[]; readonly keyStores: ReadonlyMap<string, unknown> },
): void {
  assertRegionsAreServed(loaded, regions);
  assertKeyStoresAreConfigured(loaded, keyStores);
}

type NamedRegion = Pick<RegionConfiguration, 'region'>;

/** Keys of another Region would seem to be gone; whoever renamed the Region has to know that their ARNs would be others. */
function assertRegionsAreServed({ key }: Pick<LoadedMetadata, 'key'>, regions: readonly NamedRegion[]): void {
  const served = regions.map(({ region }) => region);
  const inUse = new Set(key.map(({ region }) => region));
  const others = [...inUse].filter((region) => !served.includes(region)).sort();
  if (others.length === 0) return;
  const isRenamed = others.length === 1 && !served.some((region) => inUse.has(region));
  const remedy = isRenamed
    ? `set \`region: ${others[0]}\``
    : '`region:` is one of those that have keys, and each other one of them stands in `regions:`, with a socket';
  throw new ConfigurationError(
    `the metadata has keys of the ${named('Region', others)}, and the configuration serves ${listed(served)}; ${remedy}`,
  );
}

/** Whoever gave a key store another name would find none of its keys usable. */
function assertKeyStoresAreConfigured(
  { backingKey }: Pick<LoadedMetadata, 'backingKey'>,
  keyStores: ReadonlyMap<string, unknown>,
): void {
  // One that CreateCustomKeyStore made is on record, and may be away.
  const inUse = new Set(backingKey.map(({ keyStore }) => keyStore));
  const others = [...inUse].filter((name) => !keyStores.has(name) && !isCustomKeyStoreId(name)).sort();
  if (others.length === 0) return;
  throw new ConfigurationError(
    `the metadata has keys in the ${named('key store', others)}, and the configuration names ${listed([...keyStores.keys()])}; a key store that has keys keeps its name, and stands there although its HSM is away`,
  );
}

function named(what: string, names: readonly string[]): string {
  return `${what}${names.length === 1 ? '' : 's'} ${listed(names)}`;
}

function listed(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(', ');
}
