/** Key stores beside the default one, as requests name them: by their names in the configuration. */

import type { Configuration, RegionConfiguration } from '../config/configuration-schema.ts';
import { DetachableKeyStore } from '../hsm/detachable-key-store.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import type { KeyStoreStatus } from '../hsm/key-store-status.ts';
import type { ConfiguredKeyStore } from '../keys/custom-key-store.ts';
import { cloudHsmClusterIdOf } from '../kms/cluster-id.ts';

/** Those of a Region. @param createdAtMs Of the instance. */
export function namedKeyStores(
  { keyStores: names, defaultKeyStore }: RegionConfiguration,
  { account, keyStores: configured }: Pick<Configuration, 'account' | 'keyStores'>,
  keyStores: ReadonlyMap<string, KeyStore>,
  createdAtMs: number,
): ReadonlyMap<string, ConfiguredKeyStore> {
  const others = names.filter((name) => name !== defaultKeyStore);
  return new Map(
    others.flatMap((name): [string, ConfiguredKeyStore][] => {
      const keyStore = keyStores.get(name);
      return keyStore === undefined ? [] : [[name, namedKeyStore(name, keyStore)]];
    }),
  );

  function namedKeyStore(name: string, keyStore: KeyStore): ConfiguredKeyStore {
    const isConnected = (): boolean => keyStore.status().state === 'connected';
    return {
      customKeyStoreId: name,
      createdAtMs,
      cloudHsmClusterId: cloudHsmClusterIdOf(account, name),
      keySpecs: configured.get(name)?.keySpecs ?? 'symmetric',
      get isConnected() {
        return isConnected();
      },
      get connection() {
        return connections[keyStore.status().state];
      },
      get isAway() {
        return keyStore instanceof DetachableKeyStore ? keyStore.isAway : !isConnected();
      },
    };
  }
}

/** What AWS would call it: a token that is away is tried for as long as it is, and what an operator has to mend has failed. */
const connections = {
  connected: { state: 'CONNECTED' },
  connecting: { state: 'CONNECTING' },
  reconnecting: { state: 'CONNECTING' },
  pinRefused: { state: 'FAILED', errorCode: 'INVALID_CREDENTIALS' },
  notOurs: { state: 'FAILED', errorCode: 'INTERNAL_ERROR' },
  left: { state: 'FAILED', errorCode: 'INTERNAL_ERROR' },
  closed: { state: 'FAILED', errorCode: 'INTERNAL_ERROR' },
} as const satisfies Record<KeyStoreStatus['state'], ConfiguredKeyStore['connection']>;
