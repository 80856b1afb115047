/**
 * What a key is wrapped anew into replaces what everybody could use. So before it does, the HSMs open it that will have to: those that wrapped it
 * have, and so has each other key store in which a Region will use it, in each of its members that is there.
 */

import type { BackingKeyRecord } from '../../store/records/records.ts';
import { referenceOf } from '../backing-key-reference.ts';
import type { KeyStoresOfRegion } from '../key-stores-of-region.ts';

/** Regions, by their names. */
export type UsingRegions = ReadonlyMap<
  string,
  { readonly directory: { readonly keyStores: Pick<KeyStoresOfRegion, 'has' | 'servingName' | 'named'> } }
>;

type SharingRegions = ReadonlyMap<
  string,
  {
    readonly directory: {
      readonly keyStores: Pick<KeyStoresOfRegion, 'has' | 'hasInDomain' | 'isShared' | 'servingName' | 'named'>;
    };
  }
>;

/**
 * @param placed The record as it will be.
 * @param hasOpened The key store that has opened it already.
 * @throws KeyStoreError `keyUnavailable` with what is in the way. What is not there is asked when the key is used.
 */
export async function assertOpenedEverywhere(
  placed: BackingKeyRecord,
  regions: UsingRegions,
  hasOpened?: string,
): Promise<void> {
  const { wrapped } = referenceOf(placed);
  if (wrapped === undefined) return;
  const asked = new Set([hasOpened]);
  for (const { keyStores } of directoriesUsing(placed, regions)) {
    const name = keyStores.servingName(placed);
    if (name === undefined || asked.has(name)) continue;
    asked.add(name);
    await keyStores.named(name).assertOpens(wrapped);
  }
}

/**
 * Of what Regions share: what keeps one of them from opening it now.
 * @param placed The record as it will be.
 * @param keyStore The one that wraps it.
 * @returns For operators; `undefined`: nothing.
 */
export function whyNotOpened(placed: BackingKeyRecord, regions: SharingRegions, keyStore: string): string | undefined {
  const { domainKeyId } = placed;
  if (domainKeyId === null) return undefined;
  for (const region of placed.regions.split(' ')) {
    const keyStores = regions.get(region)?.directory.keyStores;
    if (keyStores?.isShared(placed) !== true) continue;
    if (!keyStores.has(placed.keyStore) && !keyStores.hasInDomain(domainKeyId))
      return `the Region ${region}, which shares them, has no key store with the domain key ${domainKeyId}`;
    const name = keyStores.servingName(placed);
    if (name !== undefined && name !== keyStore && keyStores.named(name).status().state !== 'connected')
      return `the key store \`${name}\` of the Region ${region}, which shares them, is away`;
  }
  return undefined;
}

/** Former versions named no Region: there, whichever has the key store uses it. */
function directoriesUsing({ regions: named, keyStore }: BackingKeyRecord, regions: UsingRegions) {
  const all = [...regions].map(([region, { directory }]) => ({ region, keyStores: directory.keyStores }));
  if (named === '') return all.filter(({ keyStores }) => keyStores.has(keyStore));
  const names = new Set(named.split(' '));
  return all.filter(({ region }) => names.has(region));
}
