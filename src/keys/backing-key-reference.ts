/** From the record of a backing key to what names it in calls to its key store, wherever it lives. */

import { hash } from 'node:crypto';
import { type BackingKeyReference, type PageOfEnded, WrappedKey, type WrappedKeyOutline } from '../hsm/wrapped-key.ts';
import type { BackingKeyId } from '../kms/names.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';

export type LivingKey = Pick<
  BackingKeyRecord,
  | 'backingKeyId'
  | 'regions'
  | 'importedMaterialId'
  | 'residency'
  | 'publicKey'
  | 'wrappedKey'
  | 'domainKeyId'
  | 'wrappedKeySpec'
  | 'wrappedKeyUsage'
>;

/**
 * @param from Where whoever holds it learns of its end; absent: he does not.
 * @throws TypeError for a residency that this version does not know, and for a wrapped key that is not on record whole.
 */
export function referenceOf(record: LivingKey, from?: PageOfEnded): BackingKeyReference {
  const { backingKeyId, residency } = record;
  if (residency === 'token') return { backingKeyId };
  if (residency !== 'wrapped') throw new TypeError(`residency ${residency} is not known to this version`);
  const outline = outlineOf(record);
  if (outline === undefined) throw new TypeError('a wrapped key is not on record whole');
  const watched = from && { backingKeyId, from };
  return { backingKeyId: nameInLanes(record), wrapped: new WrappedKey(outline, watched) };
}

/** `undefined` where no wrapped key is on record whole. */
export function outlineOf(record: LivingKey): WrappedKeyOutline | undefined {
  const { publicKey, wrappedKey, domainKeyId, wrappedKeySpec, wrappedKeyUsage } = record;
  if (wrappedKey === null || domainKeyId === null || wrappedKeySpec === null || wrappedKeyUsage === null)
    return undefined;
  return { domainKeyId, keySpec: wrappedKeySpec, keyUsage: wrappedKeyUsage, publicKey, blob: wrappedKey };
}

/** By what it is: a record that is read again has a buffer of its own. */
export function isSameBlob(one: Buffer | null, other: Buffer | null): boolean {
  return one === null || other === null ? one === other : one.equals(other);
}

/**
 * What lanes keep an unwrapped key under. Imported material is in several Regions by one backing key id, and is destroyed in each by
 * itself: whoever has it forgotten in one neither waits for the calls of another nor takes the key from it.
 */
export function nameInLanes({
  backingKeyId,
  regions,
  importedMaterialId,
}: Pick<BackingKeyRecord, 'backingKeyId' | 'regions' | 'importedMaterialId'>): BackingKeyId {
  if (importedMaterialId === '') return backingKeyId;
  const name = hash('sha256', `drawbridge/name-in-lanes/1:${regions}:${backingKeyId}`, 'hex').slice(0, 32);
  // 16 bytes as 32 lower-case hexadecimal digits are what a backing key id is.
  return name as BackingKeyId;
}
