/** From the record of a backing key to what names it in calls to its key store, wherever it lives. */

import { type BackingKeyReference, WrappedKey } from '../hsm/wrapped-key.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';

export type LivingKey = Pick<
  BackingKeyRecord,
  'backingKeyId' | 'residency' | 'publicKey' | 'wrappedKey' | 'domainKeyId' | 'wrappedKeySpec' | 'wrappedKeyUsage'
>;

/** @throws TypeError for a residency that this version does not know, and for a wrapped key that is not on record whole. */
export function referenceOf(record: LivingKey): BackingKeyReference {
  const { backingKeyId, residency, publicKey, wrappedKey, domainKeyId, wrappedKeySpec, wrappedKeyUsage } = record;
  if (residency === 'token') return { backingKeyId };
  if (residency !== 'wrapped') throw new TypeError(`residency ${residency} is not known to this version`);
  if (wrappedKey === null || domainKeyId === null || wrappedKeySpec === null || wrappedKeyUsage === null)
    throw new TypeError('a wrapped key is not on record whole');
  const kind = { keySpec: wrappedKeySpec, keyUsage: wrappedKeyUsage };
  return { backingKeyId, wrapped: new WrappedKey({ domainKeyId, ...kind, publicKey, blob: wrappedKey }) };
}
