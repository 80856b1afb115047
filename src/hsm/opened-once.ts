/** A wrapped key is unwrapped once in one HSM, so that it is known to open there. */

import { newBackingKeyId } from '../kms/names.ts';
import { type KeyStore, KeyStoreError } from './key-store.ts';
import type { WrappedKey } from './wrapped-key.ts';

/** As `KeyRelocation.assertOpens`, of a single token. */
export async function assertOpenedOnce(
  keyStore: Pick<KeyStore, 'describeKey' | 'forgetWrappedKey'>,
  wrapped: WrappedKey,
): Promise<void> {
  // Under an id that nobody else has: who destroys the key meanwhile has its own id forgotten.
  const tried = { backingKeyId: newBackingKeyId(), wrapped };
  try {
    await keyStore.describeKey(tried);
  } catch (error) {
    if (!(error instanceof KeyStoreError) || error.failure === 'keyUnavailable') throw error;
  } finally {
    await keyStore.forgetWrappedKey(tried);
  }
}
