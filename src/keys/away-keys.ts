/**
 * Keys whose key store is away: `Unavailable` for as long.
 *
 * Source: AWS KMS developer guide, "Key states of AWS KMS keys", "Unavailable".
 */

import { type CustomKeyStoreSource, customKeyStoreIdOf } from './custom-key-store.ts';
import type { KeyStoresOfRegion } from './key-stores-of-region.ts';
import type { KmsKey } from './kms-key.ts';

/**
 * The key in the state that follows, whenever it is asked, from whether its key store is away by then. One that is pending
 * deletion stays so, and its deletion can be cancelled.
 */
export function watchedOver(
  key: KmsKey,
  stores: Pick<CustomKeyStoreSource, 'find'>,
  keyStores: Pick<KeyStoresOfRegion, 'isShared' | 'servingName'>,
): KmsKey {
  const isAway = awayness(key, stores, keyStores);
  if (isAway === undefined) return key;
  return {
    ...key,
    get state() {
      const { state } = key.record;
      return (state === 'Enabled' || state === 'Disabled') && isAway() ? 'Unavailable' : state;
    },
  };
}

/** Tells whether the key store is away in which a key is used; `undefined` for one that is used in the default key store. */
function awayness(
  key: KmsKey,
  stores: Pick<CustomKeyStoreSource, 'find'>,
  keyStores: Pick<KeyStoresOfRegion, 'isShared' | 'servingName'>,
): (() => boolean) | undefined {
  const id = customKeyStoreIdOf(key);
  if (id !== undefined) return () => stores.find(id)?.isAway ?? true;
  const { currentMaterial } = key;
  if (currentMaterial === undefined || !keyStores.isShared(currentMaterial)) return undefined;
  // Any one of the domain may serve it: what `find` does not know is the default key store.
  return () => {
    const name = keyStores.servingName(currentMaterial);
    return name === undefined || stores.find(name)?.isAway === true;
  };
}
