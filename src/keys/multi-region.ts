/**
 * Multi-Region keys: related keys of one id, one in each Region that has it, of which one is the primary.
 *
 * They share their material, KeySpec, KeyUsage, origin and rotation; policy, grants, aliases, tags, description and state are each
 * one's own. What is shared is changed in one turn in all of them: every Region's directory follows the same turns.
 *
 * Source: AWS KMS developer guide, "Multi-Region keys in AWS KMS".
 */

import { KmsError } from '../kms/errors.ts';
import { isMultiRegion, type KeyId } from '../kms/names.ts';
import { added, type Change, replaced } from '../store/records/changes.ts';
import type { BackingKeyRecord, KeyRecord } from '../store/records/records.ts';
import type { KeyView } from './key-view.ts';
import type { KmsKey } from './kms-key.ts';

type Regions = Pick<KeyView, 'regions'>;

export type MultiRegionKeyType = 'PRIMARY' | 'REPLICA';

/** `undefined` for a key of a single Region. */
export function multiRegionKeyType({
  keyId,
  region,
  primaryRegion,
}: Pick<KeyRecord, 'keyId' | 'region' | 'primaryRegion'>): MultiRegionKeyType | undefined {
  if (!isMultiRegion(keyId)) return undefined;
  return primaryRegion === region ? 'PRIMARY' : 'REPLICA';
}

/**
 * All keys of this id, in the order of their Regions' names: of a single-Region key itself alone.
 * @throws KmsError `KMSInternalException` when the records of one of them do not verify.
 */
export function relatedKeys({ regions }: Regions, keyId: KeyId): readonly KmsKey[] {
  const names = [...regions.keys()].sort();
  return names.flatMap((name) => regions.get(name)?.findKey(keyId) ?? []);
}

/** The names of the Regions that have a key of this id. Throws as `relatedKeys`. */
export function relatedRegions(directory: Regions, keyId: KeyId): readonly string[] {
  return relatedKeys(directory, keyId).map(({ record: { region } }) => region);
}

/** The same without those whose records do not verify: what is wrong with one is no reason to tell nothing of the others. */
export function soundRelatedKeys({ regions }: Regions, keyId: KeyId): readonly KmsKey[] {
  const names = [...regions.keys()].sort();
  return names.flatMap((name) => regions.get(name)?.findSoundKey(keyId) ?? []);
}

/** As `relatedKeys` has them. */
export function inOrderOfRegions<Key extends { readonly record: Pick<KeyRecord, 'region'> }>(
  keys: readonly Key[],
): readonly Key[] {
  return keys.toSorted((one, other) => (one.record.region < other.record.region ? -1 : 1));
}

/** The related keys that are no primary. Throws as `relatedKeys`. */
export function replicasOf(directory: Regions, keyId: KeyId): readonly KmsKey[] {
  return relatedKeys(directory, keyId).filter(({ record }) => multiRegionKeyType(record) === 'REPLICA');
}

/** The change that has a Region's key wait for imported material that its primary key has: it takes the same, and no other. */
export function awaitedIn(there: Pick<KeyView, 'realm' | 'defaultKeyStore'>, material: BackingKeyRecord): Change {
  const members = { validToMs: null, wrappedKey: null, domainKeyId: null, owner: '', version: 1 } as const;
  const { region: regions } = there.realm;
  return added('backingKey', {
    ...material,
    ...members,
    ...{ regions, keyStore: there.defaultKeyStore, residency: 'wrapped', state: 'Removed' },
  });
}

/** Is imported material there in each Region that has the key, and has not expired? */
export function isThereInAll(
  { regions }: Regions,
  related: readonly KmsKey[],
  { backingKeyId }: Pick<BackingKeyRecord, 'backingKeyId'>,
): boolean {
  return related.every(({ record, materials }) => {
    const material = materials.find((each) => each.backingKeyId === backingKeyId);
    return material !== undefined && regions.get(record.region)?.isUsable(material) === true;
  });
}

/**
 * Have other Regions imported material still, or wait for it, that this one is losing? Then this one is to have it again. Where the primary key loses
 * it all do; but one that was a replica when it lost it may be the primary key by now.
 */
export function isKeptByOthers(
  directory: Regions,
  { record: { keyId, region } }: KmsKey,
  { backingKeyId }: Pick<BackingKeyRecord, 'backingKeyId'>,
): boolean {
  const others = relatedKeys(directory, keyId).filter(({ record }) => record.region !== region);
  const theirs = others.flatMap(({ materials }) => materials.filter((each) => each.backingKeyId === backingKeyId));
  return theirs.some(({ state }) => state !== 'Destroying');
}

/** The key whose rotation is that of all related keys; the key itself where there is no other. */
export function primaryOf({ regions }: Regions, key: KmsKey): KmsKey {
  const { keyId, primaryRegion } = key.record;
  return regions.get(primaryRegion)?.findKey(keyId) ?? key;
}

/** @throws KmsError `UnsupportedOperationException` for a replica: what related keys share is changed at their primary. */
export function assertNoReplica({ arn, record }: Pick<KmsKey, 'arn' | 'record'>): void {
  if (multiRegionKeyType(record) !== 'REPLICA') return;
  throw new KmsError(
    'UnsupportedOperationException',
    `${arn} is a multi-Region replica key; the operation is valid for the primary key in ${record.primaryRegion} alone.`,
  );
}

/**
 * The changes that give all related keys the same members.
 * @param own What the key itself is given beside them.
 */
export function replacedInAll(
  directory: Regions,
  { record: { keyId, region } }: KmsKey,
  members: Partial<Omit<KeyRecord, 'version'>>,
  own: Partial<Omit<KeyRecord, 'version'>> = {},
): readonly Change[] {
  return relatedKeys(directory, keyId).map(({ record }) =>
    replaced('key', record, record.region === region ? { ...members, ...own } : members),
  );
}

/**
 * Before a key gets material that its related keys share: can each of their Regions use it?
 * @param material In which key store it is wrapped, and under which domain key.
 * @throws KmsError `KMSInvalidStateException` with the Region whose HSMs are not in the domain of that key store.
 */
export function assertUsedInAll(
  { regions }: Regions,
  keyId: KeyId,
  { keyStore, domainKeyId }: Pick<BackingKeyRecord, 'keyStore' | 'domainKeyId'>,
): void {
  for (const { arn, record } of relatedKeys({ regions }, keyId)) {
    const there = regions.get(record.region)?.keyStores;
    if (there?.has(keyStore) === true || there?.hasInDomain(domainKeyId ?? '') === true) continue;
    throw new KmsError(
      'KMSInvalidStateException',
      `${arn} could not use new key material: no key store of ${record.region} is in the domain of \`${keyStore}\`.`,
    );
  }
}
