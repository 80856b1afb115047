/**
 * Which Regions' keys may use a piece of key material: its record names them, under its MAC.
 *
 * What was generated here is one record for all Regions of its key; ReplicateKey adds a Region to it, and the deletion of a replica takes
 * it out again. Imported material of a multi-Region key is each Region's own: it is there and expires by itself, so each Region has a record
 * of it, with one backing key id, by which a ciphertext of one Region is opened in another. Either way a directory knows nothing of
 * material that does not name its Region, whatever records of keys somebody puts beside it.
 */

import type { BackingKeyId } from '../kms/names.ts';
import { added, type Change, removed } from '../store/records/changes.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';

type Named = Pick<BackingKeyRecord, 'regions'>;

/** What a record says that names these Regions, each once. */
export function namedRegions(regions: Iterable<string>): string {
  return [...new Set(regions)].sort().join(' ');
}

export function namesRegion({ regions }: Named, region: string): boolean {
  return regions === region || regions === '' || regions.split(' ').includes(region);
}

/** Is it a record of this Region, or of none in particular? */
export function isOfRegion(record: object, region: string): boolean {
  if ('region' in record) return record.region === region;
  // Of all records, those of backing keys have that member.
  return !('regions' in record) || namesRegion(record as Named, region);
}

/** What is on record of the same backing key for other Regions than those that this record names. */
export function recordsElsewhere(
  regions: ReadonlyMap<
    string,
    { readonly onRecord: { findMaterial(id: BackingKeyId): { readonly record: BackingKeyRecord } | undefined } }
  >,
  { backingKeyId, regions: named }: BackingKeyRecord,
): readonly BackingKeyRecord[] {
  const found = [...regions.values()].flatMap(({ onRecord }) => onRecord.findMaterial(backingKeyId)?.record ?? []);
  return found.filter((record) => record.regions !== named);
}

/** What is on record of material in this key store, each once. It goes through all that there is, as far as it is asked. */
export function* materialsOfRegions(
  directories: Iterable<{ readonly onRecord: { materialsIn(keyStore: string): Iterable<BackingKeyRecord> } }>,
  keyStore: string,
): Iterable<BackingKeyRecord> {
  const seen = new Set<string>();
  for (const { onRecord } of directories)
    for (const record of onRecord.materialsIn(keyStore)) {
      const name = `${record.regions} ${record.backingKeyId}`;
      if (seen.has(name)) continue;
      seen.add(name);
      yield record;
    }
}

/** The changes by which material names other Regions than it did. */
export function renamed(material: BackingKeyRecord, regions: Iterable<string>): readonly Change[] {
  const names = namedRegions(regions);
  if (names === material.regions) return [];
  // They are a part of what names the record.
  return [removed('backingKey', material), added('backingKey', { ...material, regions: names, version: 1 })];
}
