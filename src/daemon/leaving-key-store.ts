/** What a key store that leaves its domain is needed for, by its Regions and by those of the others. */

import type { KeyDirectory } from '../keys/key-directory.ts';
import type { KeyView } from '../keys/key-view.ts';
import { KmsError } from '../kms/errors.ts';
import type { CountedUses } from './domain-key-uses.ts';

/** Reads of all keys what has yet to be verified. */
export async function verifyAll(regions: readonly { readonly directory: Pick<KeyDirectory, 'source'> }[]) {
  for (const { directory } of regions) await directory.source?.verifyAll();
}

/** The others are counted. */
const namedDamaged = 5;

/**
 * A record that does not verify may be of a key that needs what is about to be destroyed, and may be given back.
 * @throws KmsError `ConflictException` with how many there are, of those that were read, the first of them, and what to do.
 */
export function assertNoneDamaged(
  regions: readonly { readonly directory: Pick<KeyView, 'counts' | 'damagedKeyIds' | 'realm'> }[],
): void {
  const damaged = regions.reduce((sum, { directory }) => sum + directory.counts().damaged, 0);
  if (damaged === 0) return;
  const named = regions
    .flatMap(({ directory }) => directory.damagedKeyIds(namedDamaged).map((id) => `${directory.realm.region} ${id}`))
    .slice(0, namedDamaged);
  throw new KmsError(
    'ConflictException',
    `${damaged} keys have a record that does not verify, and may need what would be destroyed (${named.join(', ')}${damaged > named.length ? ', …' : ''}; ` +
      'the log of the start says which record of each, and why): stop the daemon and restore a backup first (`drawbridge restore`)',
  );
}

/**
 * What related keys share cannot be used on both sides of a domain that parts.
 * @throws KmsError `ConflictException` with how many keys that are, and what to do.
 */
export function assertSharesNothing(uses: Pick<CountedUses, 'sharedWith'>, leaver: string): void {
  const shared = uses.sharedWith(leaver);
  if (shared.length === 0) return;
  const some = shared.slice(0, 5).join(', ');
  throw new KmsError(
    'ConflictException',
    `${shared.length} multi-Region keys are used by \`${leaver}\` and by other key stores of its domain (${some}${shared.length > 5 ? ', …' : ''}): ` +
      'delete their replicas on one of the two sides first, or, if it is not there any more, accept that they are lost in it (`--yes`)',
  );
}
