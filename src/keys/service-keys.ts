/**
 * Service keys: the keys that Drawbridge keeps in the HSM for itself. Callers never see them.
 *
 * There is one now: `metadata-integrity`, an HMAC-SHA-256 key whose MAC every record in the metadata store carries. The
 * store names it by its `CKA_ID`, in a row that cannot carry a MAC itself. Whoever edits the database could name another
 * HMAC key there, one that he may use through the API, and so forge records; therefore the object's label is compared:
 * labels are set when the HSM generates a key, those of KMS keys are always `drawbridge:<key id>:<n>`, and nothing in the
 * API sets one.
 */

import { randomBytes } from 'node:crypto';
import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import type { BackingKeyId } from '../kms/names.ts';

export const serviceKeyLabelPrefix = 'drawbridge:service:';
export type ServiceKeyPurpose = 'metadata-integrity';

export function serviceKeyLabel(purpose: ServiceKeyPurpose): string {
  return `${serviceKeyLabelPrefix}${purpose}`;
}

/** Generates a service key. Called by `drawbridge init` alone, never by a running daemon. */
export async function createServiceKey(keyStore: KeyStore, purpose: ServiceKeyPurpose): Promise<BackingKeyId> {
  const backingKeyId = randomBytes(16).toString('hex') as BackingKeyId;
  await keyStore.generateKey({
    backingKeyId,
    label: serviceKeyLabel(purpose),
    keySpec: 'HMAC_256',
    keyUsage: 'GENERATE_VERIFY_MAC',
  });
  return backingKeyId;
}

/** The service keys of this purpose that are on the token: there should be one for each data folder that uses it. */
export async function findServiceKeys(
  keyStore: KeyStore,
  purpose: ServiceKeyPurpose,
): Promise<readonly BackingKeyId[]> {
  const label = serviceKeyLabel(purpose);
  return (await keyStore.listKeys()).filter((key) => key.label === label).map((key) => key.backingKeyId);
}

/**
 * Makes sure that the object which the store names is a service key of this purpose, protected as one.
 * @throws KeyStoreError `keyUnavailable`, with what to do.
 */
export async function assertServiceKey(
  keyStore: KeyStore,
  purpose: ServiceKeyPurpose,
  backingKeyId: BackingKeyId,
): Promise<void> {
  const attributes = await keyStore.describeKey({ backingKeyId });
  if (attributes.label !== serviceKeyLabel(purpose)) {
    throw new KeyStoreError(
      'keyUnavailable',
      `the metadata store names \`${backingKeyId}\` as its ${purpose} key, but the HSM calls that object \`${attributes.label}\`; restore the metadata store from a backup`,
    );
  }
  if (attributes.extractable || !attributes.sensitive) {
    throw new KeyStoreError(
      'keyUnavailable',
      `the ${purpose} key is not protected by the HSM: it is extractable or not sensitive`,
    );
  }
}
