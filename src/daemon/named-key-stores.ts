/** Key stores beside the default one, as requests name them: by their names in the configuration. */

import type { Configuration, RegionConfiguration } from '../config/configuration-schema.ts';
import { DetachableKeyStore } from '../hsm/detachable-key-store.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import type { CustomKeyStore, CustomKeyStoreSource } from '../keys/custom-key-store.ts';
import { cloudHsmClusterIdOf } from '../kms/cluster-id.ts';

/** Those of a Region. */
export function namedKeyStores(
  { keyStores: names, defaultKeyStore }: RegionConfiguration,
  { account, keyStores: configured }: Pick<Configuration, 'account' | 'keyStores'>,
  keyStores: ReadonlyMap<string, KeyStore>,
): Pick<CustomKeyStoreSource, 'find'> {
  const others = names.filter((name) => name !== defaultKeyStore);
  const found = new Map(
    others.flatMap((name): [string, CustomKeyStore][] => {
      const keyStore = keyStores.get(name);
      return keyStore === undefined ? [] : [[name, namedKeyStore(name, keyStore)]];
    }),
  );
  return { find: (customKeyStoreId) => found.get(customKeyStoreId) };

  function namedKeyStore(name: string, keyStore: KeyStore): CustomKeyStore {
    const isConnected = (): boolean => keyStore.status().state === 'connected';
    return {
      customKeyStoreId: name,
      cloudHsmClusterId: cloudHsmClusterIdOf(account, name),
      keySpecs: configured.get(name)?.keySpecs ?? 'symmetric',
      get isConnected() {
        return isConnected();
      },
      get isAway() {
        return keyStore instanceof DetachableKeyStore ? keyStore.isAway : !isConnected();
      },
    };
  }
}
