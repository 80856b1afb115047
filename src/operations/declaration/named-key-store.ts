/** The custom key store that a request names: found, and connected where that matters. */

import type { CustomKeyStore } from '../../keys/custom-key-store.ts';
import type { KeyView } from '../../keys/key-view.ts';
import { KmsError } from '../../kms/errors.ts';

/** @throws KmsError `CustomKeyStoreNotFoundException`. */
export function namedKeyStore(directory: KeyView, customKeyStoreId: string): CustomKeyStore {
  const found = directory.customKeyStores.find(customKeyStoreId);
  if (found !== undefined) return found;
  throw new KmsError(
    'CustomKeyStoreNotFoundException',
    `Custom key store with CustomKeyStoreId ${customKeyStoreId} does not exist.`,
  );
}

/** @throws KmsError the same, and `CustomKeyStoreInvalidStateException` for one that is not connected. */
export function connectedKeyStore(directory: KeyView, customKeyStoreId: string): CustomKeyStore {
  const found = namedKeyStore(directory, customKeyStoreId);
  if (found.isConnected) return found;
  throw new KmsError(
    'CustomKeyStoreInvalidStateException',
    `Custom key store with CustomKeyStoreId ${customKeyStoreId} is not connected.`,
  );
}
