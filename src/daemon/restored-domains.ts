/** In which key stores the Regions of a backup use what they share, by what the backup says of their domain keys. */

import type { Configuration } from '../config/configuration-schema.ts';
import { DetachableKeyStore } from '../hsm/detachable-key-store.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { noCustomKeyStores } from '../keys/custom-key-store.ts';
import { KeyStoresOfRegion, noDomains } from '../keys/key-stores-of-region.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';

type Regions = Pick<Configuration, 'regions'>;

/** The names of the key stores of Regions that have a domain key: one of them may be used for what another one made. */
export function servingOthers({ key, domainKey }: LoadedMetadata, { regions }: Regions): ReadonlySet<string> {
  const shared = new Set(key.flatMap(({ primaryRegion, region }) => (primaryRegion === '' ? [] : [region])));
  const named = new Set(regions.flatMap(({ region, keyStores }) => (shared.has(region) ? keyStores : [])));
  return new Set(
    domainKey.flatMap(({ keyStore, state }) => (state === 'Active' && named.has(keyStore) ? [keyStore] : [])),
  );
}

/** @returns The name of the key store in which a Region uses a piece of material. */
export function placesOfRegions(
  { domainKey }: LoadedMetadata,
  { regions }: Regions,
  opened: ReadonlyMap<string, KeyStore>,
): (region: string, material: BackingKeyRecord) => string {
  const held = new Set(
    domainKey.flatMap((record) => (record.state === 'Active' ? [`${record.keyStore} ${record.backingKeyId}`] : [])),
  );
  const domains = { ...noDomains, holds: (keyStore: string, id: string): boolean => held.has(`${keyStore} ${id}`) };
  const places = new Map(
    regions.map(({ region, keyStores: names, defaultKeyStore }) => {
      // In one that could not be opened it is all the same, and then nothing is known of it.
      const keyStores = new Map(names.map((name) => [name, opened.get(name) ?? new DetachableKeyStore(name)]));
      const parts = { region, keyStores, defaultKeyStore, domains, customKeyStores: noCustomKeyStores };
      return [region, new KeyStoresOfRegion(parts)];
    }),
  );
  return (region, material) => places.get(region)?.servingName(material) ?? material.keyStore;
}
