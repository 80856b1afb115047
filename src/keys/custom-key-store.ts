/**
 * Key stores beside the default one, as keys and operations see them: those that the configuration names, and custom key stores
 * (`CreateCustomKeyStore`). Any of them may be away while the others serve, and its keys are `Unavailable` for as long.
 *
 * A key in one of them has `Origin` `AWS_CLOUDHSM`, which no key of the default store has.
 *
 * Source: AWS KMS developer guide, "Key states of AWS KMS keys", "Unavailable".
 */

import type { KmsKey } from './kms-key.ts';

export interface CustomKeyStore {
  /** AWS's id of it (`cks-…`), or its name in the configuration. The records of its material name it so. */
  readonly customKeyStoreId: string;
  /** Of its HSM. */
  readonly cloudHsmClusterId: string;
  /** Which keys can be made in it: `symmetric`, those that AWS has in a custom key store. */
  readonly keySpecs: 'symmetric' | 'all';
  /** May keys be made in it now? */
  readonly isConnected: boolean;
  /** Are its keys unavailable? */
  readonly isAway: boolean;
}

export interface CustomKeyStoreSource {
  find(customKeyStoreId: string): CustomKeyStore | undefined;
}

export const noCustomKeyStores: CustomKeyStoreSource = { find: () => undefined };

/** The name of the custom key store that the key is in; `undefined` for one in the default key store. */
export function customKeyStoreIdOf({ record, materials }: Pick<KmsKey, 'record' | 'materials'>): string | undefined {
  return record.origin === 'AWS_CLOUDHSM' ? materials[0]?.keyStore : undefined;
}

/**
 * The key in the state that follows, whenever it is asked, from whether its key store is away by then. One that is pending
 * deletion stays so, and its deletion can be cancelled.
 */
export function watchedOver(key: KmsKey, find: CustomKeyStoreSource['find']): KmsKey {
  const id = customKeyStoreIdOf(key);
  if (id === undefined) return key;
  return {
    ...key,
    get state() {
      const { state } = key.record;
      const isAway = find(id)?.isAway ?? true;
      return isAway && (state === 'Enabled' || state === 'Disabled') ? 'Unavailable' : state;
    },
  };
}
