/**
 * Service keys: the keys that Drawbridge keeps in the HSM for itself. Callers never see them.
 *
 *     metadata-integrity       HMAC-SHA-256   the MAC that every record in the metadata store carries
 *     access-key-encryption    AES-256-GCM    encrypts the secrets of access keys
 *     session-credentials      HMAC-SHA-256   short-lived credentials are derived from it
 *
 * The store names each by its `CKA_ID`, in a row without a MAC. Whoever edits the database could name another key there, one
 * that he may use through the API, and so forge records; therefore the object's label is compared: labels are set when the
 * HSM generates a key, those of KMS keys are always `drawbridge:<key id>:<n>`, and nothing in the API sets one.
 */

import { type KeyStore, KeyStoreError, serviceKeyLabelPrefix } from '../../hsm/key-store.ts';
import type { KeySpec, KeyUsage } from '../../kms/key-specs.ts';
import { type BackingKeyId, newBackingKeyId } from '../../kms/names.ts';
import type { ServiceKeyPurpose } from '../../store/sqlite-store.ts';

const macKey = { keySpec: 'HMAC_256', keyUsage: 'GENERATE_VERIFY_MAC' } as const;
const serviceKeys = {
  'metadata-integrity': macKey,
  'access-key-encryption': { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' },
  'session-credentials': macKey,
} as const satisfies Record<ServiceKeyPurpose, { readonly keySpec: KeySpec; readonly keyUsage: KeyUsage }>;

function serviceKeyLabel(purpose: ServiceKeyPurpose): string {
  return `${serviceKeyLabelPrefix}${purpose}`;
}

/**
 * Generates a service key. A lost `metadata-integrity` key is never made anew by a running daemon: that would hide the
 * loss.
 */
export async function createServiceKey(keyStore: KeyStore, purpose: ServiceKeyPurpose): Promise<BackingKeyId> {
  const backingKeyId = newBackingKeyId();
  await keyStore.generateKey({
    backingKeyId,
    label: serviceKeyLabel(purpose),
    ...serviceKeys[purpose],
  });
  return backingKeyId;
}

/** What the object of a service key is, in every HSM of the domain. */
export function serviceKeyOutline(purpose: ServiceKeyPurpose): {
  readonly label: string;
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
} {
  return { label: serviceKeyLabel(purpose), ...serviceKeys[purpose] };
}

/** What service keys are for. */
export const serviceKeyPurposes = Object.keys(serviceKeys) as readonly ServiceKeyPurpose[]; // Safe: it has exactly these keys.

/** A service key, as operators are shown it. */
export interface ListedServiceKey {
  /** As in the object's label: what it is for. */
  readonly purpose: string;
  readonly backingKeyId: BackingKeyId;
}

/** All service keys that are on the token, whichever data folder they are of. */
export async function listServiceKeys(keyStore: Pick<KeyStore, 'listKeys'>): Promise<readonly ListedServiceKey[]> {
  return (await keyStore.listKeys())
    .filter(({ label }) => label.startsWith(serviceKeyLabelPrefix))
    .map(({ label, backingKeyId }) => ({ purpose: label.slice(serviceKeyLabelPrefix.length), backingKeyId }))
    .sort((one, other) => (one.purpose < other.purpose ? -1 : 1));
}

/** The service keys of this purpose that are on the token: there should be one for each data folder that uses it. */
export async function findServiceKeys(
  keyStore: Pick<KeyStore, 'listKeys'>,
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
  keyStore: Pick<KeyStore, 'describeKey'>,
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
  // A key that may go to other HSMs is safe where the token lets it go under nothing but what its security officer trusted.
  if ((attributes.extractable && !attributes.wrapWithTrusted) || !attributes.sensitive) {
    throw new KeyStoreError(
      'keyUnavailable',
      `the ${purpose} key is not protected by the HSM: it is extractable or not sensitive`,
    );
  }
}
