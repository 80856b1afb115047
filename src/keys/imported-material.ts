/**
 * What is true of key material that was imported: what it is called, and what of it a key cannot do without.
 *
 *     fingerprint     32 bytes that the HSM computes of the material: equal for the same material under the same key id
 *     KeyMaterialId   SHA-256( "drawbridge/imported-key-material-id/1:" ‖ fingerprint ), 64 hexadecimal digits
 *     backing key id  the first 16 bytes of SHA-256( "drawbridge/imported-backing-key-id/1:" ‖ the KeyMaterialId as text )
 *
 * A ciphertext names its backing key, so that material which is imported again, here or later into another Region's key of the
 * same id, opens what was encrypted before; and it cannot be imported beside itself.
 *
 * The first material becomes the current one as soon as it is imported. A symmetric key can be given more, one at a time: each
 * waits for RotateKeyOnDemand (`PENDING_ROTATION`) and until then belongs to the key only for as long as it is there. From when
 * it was current the key is missing it: with any such material deleted or expired the key is `PendingImport`.
 */

import { createHash } from 'node:crypto';
import { KmsError } from '../kms/errors.ts';
import type { KeySpec } from '../kms/key-specs.ts';
import type { KeyState } from '../kms/key-states.ts';
import type { BackingKeyId } from '../kms/names.ts';
import type { BackingKeyRecord, KeyRecord } from '../store/records/records.ts';

/** @param fingerprint As `KeyStore.examineImport` gives it. */
export function importedMaterialIdOf(fingerprint: Buffer): string {
  return createHash('sha256').update('drawbridge/imported-key-material-id/1:').update(fingerprint).digest('hex');
}

/** The `CKA_ID` that imported material has wherever it is imported. */
export function importedBackingKeyIdOf(importedMaterialId: string): BackingKeyId {
  const hash = createHash('sha256').update(`drawbridge/imported-backing-key-id/1:${importedMaterialId}`).digest('hex');
  // 16 bytes as 32 lower-case hexadecimal digits are what a backing key id is.
  return hash.slice(0, 32) as string as BackingKeyId;
}

/**
 * AWS takes no other material: nothing else can be wrapped, or is made from a seed of its own.
 * @throws KmsError `UnsupportedOperationException`.
 */
export function assertImportable(keySpec: KeySpec): void {
  if (/^(?:SYMMETRIC_DEFAULT|HMAC_|RSA_|ECC_)/.test(keySpec)) return;
  throw new KmsError(
    'UnsupportedOperationException',
    `KeySpec ${keySpec} is not supported for keys with imported key material.`,
  );
}

/** What is on record of the material that a key ever had, by ordinal, and which of it is the current one. */
export interface Materials {
  readonly materials: readonly BackingKeyRecord[];
  readonly currentMaterial: BackingKeyRecord | undefined;
}

/** Has this material never been the current one? */
export function isPendingRotation({ currentMaterial }: Materials, { ordinal }: BackingKeyRecord): boolean {
  return currentMaterial !== undefined && ordinal > currentMaterial.ordinal;
}

/** The material that waits for RotateKeyOnDemand, also where it has expired or is being destroyed. */
export function pendingRotationOf(key: Materials): BackingKeyRecord | undefined {
  return key.materials.find((each) => isPendingRotation(key, each));
}

/**
 * Does the key lack material that it cannot do without?
 * @param imported Material that is taken to be there, whatever its record says: it is just being imported.
 */
export function lacksMaterial(key: Materials, imported?: BackingKeyId): boolean {
  if (key.currentMaterial === undefined) return imported === undefined;
  return key.materials.some(
    (each) => each.state !== 'Active' && each.backingKeyId !== imported && !isPendingRotation(key, each),
  );
}

/** The material that has a date on which it expires and that the key cannot do without. */
export function expiringMaterials(key: Materials): readonly BackingKeyRecord[] {
  return key.materials.filter(
    (each) => each.state === 'Active' && each.validToMs !== null && !isPendingRotation(key, each),
  );
}

/** The state of a key without material that it needs, whatever else is on record of it. */
export function stateWithoutMaterial({ state }: Pick<KeyRecord, 'state'>): KeyState {
  return state === 'Enabled' || state === 'Disabled' ? 'PendingImport' : state;
}
