/**
 * Empties a member that leaves, or has left, if it is there: it is of no use to anybody then, and to us a token like any other.
 *
 * Nothing does this by itself when such a member comes back: what is destroyed there may be the only objects of keys that were given up
 * because it was not there. An operator asks for it, who may also have it join again.
 */

import type { Member } from '../hsm/members/member.ts';
import { serviceKeyOutline } from '../keys/life/service-keys.ts';
import type { BackingKeyId } from '../kms/names.ts';
import { assertLacks } from './domain-wide-rotation.ts';

/**
 * What became of it: `emptied`; `noneOfOurs`: it was emptied before, or another token is in its place, which nobody can tell from each other;
 * `away`: nothing is known of it.
 */
export type Emptying = 'emptied' | 'noneOfOurs' | 'away';

/**
 * Destroys all that is ours in it, the key by which it is known last, so that this can be repeated until it is done.
 * @param backingKeyIds Of the domain, and its mark; the last one is that by which a member is known. Everything else in it is ours as well where the
 * token has our service key, and no other instance's.
 * @param newest The domain key that those that stay have.
 * @throws KeyStoreError when it is lost meanwhile; KmsError `ConflictException` when it is one of those that stay.
 */
export async function emptyMember(
  member: Member,
  backingKeyIds: readonly BackingKeyId[],
  newest: BackingKeyId | undefined,
): Promise<Emptying> {
  if (member.isStranger) return 'noneOfOurs';
  if (!member.isServing && !member.hasLeft) return 'away';
  if (newest !== undefined) await member.call((theirs) => assertLacks(theirs, member.name, newest));
  const { label: known } = serviceKeyOutline('metadata-integrity');
  const listed = await member.call((theirs) => theirs.listKeys());
  const instances = listed.filter(({ label }) => label === known).map(({ backingKeyId }) => backingKeyId);
  const isOursAlone = instances.length > 0 && instances.every((id) => backingKeyIds.includes(id));
  const others = listed.map(({ backingKeyId }) => backingKeyId).filter((id) => !backingKeyIds.includes(id));
  for (const backingKeyId of [...(isOursAlone ? others : []), ...backingKeyIds]) {
    await member.call((theirs) => theirs.destroyKey({ backingKeyId }));
    member.inventory?.remove(backingKeyId);
  }
  await member.reexamine();
  return 'emptied';
}
