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

/** Former versions named no Region: there, whichever has the key store uses it. */
function directoriesUsing({ regions: named, keyStore }: BackingKeyRecord, regions: UsingRegions) {
  const all = [...regions].map(([region, { directory }]) => ({ region, keyStores: directory.keyStores }));
  if (named === '') return all.filter(({ keyStores }) => keyStores.has(keyStore));
  const names = new Set(named.split(' '));
  return all.filter(({ region }) => names.has(region));
}
