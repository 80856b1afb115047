/** What a key store that leaves its domain is needed for, by its Regions and by those of the others. */

import type { KeyDirectory } from '../keys/key-directory.ts';
import type { KeyView } from '../keys/key-view.ts';
import { KmsError } from '../kms/errors.ts';
import type { BackingKeyId, KeyId } from '../kms/names.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';

type Regions = readonly { readonly directory: Pick<KeyView, 'all' | 'keyStores' | 'realm'> }[];

/** Reads of all keys what has yet to be verified. */
export async function verifyAll(regions: readonly { readonly directory: Pick<KeyDirectory, 'source'> }[]) {
  for (const { directory } of regions) await directory.source?.verifyAll();
}

/**
 * A record that does not verify may be of a key that needs what is about to be destroyed, and may be given back.
 * @throws KmsError `ConflictException` with how many there are, of those that were read.
 */
export function assertNoneDamaged(regions: readonly { readonly directory: Pick<KeyDirectory, 'counts'> }[]): void {
  const damaged = regions.reduce((sum, { directory }) => sum + directory.counts().damaged, 0);
  if (damaged === 0) return;
  throw new KmsError(
    'ConflictException',
    `${damaged} keys have a record that does not verify, and may need what would be destroyed: restore them, or accept what there is, first.`,
  );
}

/**
 * What related keys share cannot be used on both sides of a domain that parts.
 * @throws KmsError `ConflictException` with how many keys that are, and what to do.
 */
export function assertSharesNothing(regions: Regions, leaver: string): void {
  const inLeaver = new Set<KeyId>();
  const inOthers = new Set<KeyId>();
  for (const { record, place } of usedIn(regions)) (place === leaver ? inLeaver : inOthers).add(record.keyId);
  const shared = [...inLeaver].filter((keyId) => inOthers.has(keyId));
  if (shared.length === 0) return;
  const some = shared.slice(0, 5).join(', ');
  throw new KmsError(
    'ConflictException',
    `${shared.length} multi-Region keys are used by \`${leaver}\` and by other key stores of its domain (${some}${shared.length > 5 ? ', …' : ''}): ` +
      'delete their replicas on one of the two sides first, or, if it is not there any more, accept that they are lost in it (`--yes`)',
  );
}

/** How many pieces of material that are wrapped under each domain key are used in a key store. */
export function usesOfDomainKeys(regions: Regions, keyStore: string): (domainKeyId: BackingKeyId) => number {
  const uses = new Map<string, number>();
  for (const { record, place } of usedIn(regions)) {
    if (place !== keyStore || record.domainKeyId === null) continue;
    uses.set(record.domainKeyId, (uses.get(record.domainKeyId) ?? 0) + 1);
  }
  return (domainKeyId) => uses.get(domainKeyId) ?? 0;
}

/** Wrapped material, each as often as there are Regions that have it, with the name of the key store in which that is used. */
function* usedIn(regions: Regions): Iterable<{ readonly record: BackingKeyRecord; readonly place: string }> {
  for (const { directory } of regions)
    for (const { materials } of directory.all())
      for (const record of materials)
        if (record.wrappedKey !== null)
          yield { record, place: directory.keyStores.servingName(record) ?? record.keyStore };
}
