/** Do the records of a key's material belong to it, and are they all there? */

import type { BackingKeyRecord, KeyRecord } from '../store/records/records.ts';

/**
 * @param materials All that were made, by ordinal.
 * @returns What is wrong, for operators.
 */
export function problemOfMaterials(
  { currentBackingKeyId, keySpec, keyUsage }: KeyRecord,
  materials: readonly BackingKeyRecord[],
): string | undefined {
  // Ordinals count from 1 without a gap, so a backing key's missing record shows even where nothing else names it.
  if (materials.some(({ ordinal }, index) => ordinal !== index + 1)) return 'a backing key is missing';
  if (currentBackingKeyId !== null && !materials.some(({ backingKeyId }) => backingKeyId === currentBackingKeyId))
    return 'no current backing key';
  const isOfKey = ({ residency, wrappedKeySpec, wrappedKeyUsage }: BackingKeyRecord): boolean =>
    residency !== 'wrapped' || (wrappedKeySpec === keySpec && wrappedKeyUsage === keyUsage);
  return materials.every(isOfKey) ? undefined : 'a wrapped backing key is one of another KeySpec or KeyUsage';
}
