/** What would be lost with a member that leaves: keys that are token objects are in one member alone. */

import type { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { Member } from '../hsm/members/member.ts';
import type { KeyView } from '../keys/key-view.ts';
import { materialsOfRegions } from '../keys/regions-of-material.ts';
import { KmsError } from '../kms/errors.ts';
import { assertNoneDamaged } from './leaving-key-store.ts';
import { memberNamed, type RotationChoices } from './rotation-choices.ts';

/**
 * What is in one that serves can be moved, and is not given up. What is in one that does not serve may be lost already, which somebody has
 * to accept who was told how much it is; of one that was never there it may be all that no other member has.
 * @param regions All of whose keys were read.
 * @throws KmsError `ConflictException` with how many keys would be lost, or could be by a record that does not verify, and what to do.
 */
export function assertNothingIsLost(
  regions: readonly { readonly directory: Pick<KeyView, 'onRecord' | 'counts' | 'damagedKeyIds' | 'realm'> }[],
  keyStore: JoinedKeyStore,
  { leavers = [], isLossAccepted = false }: RotationChoices,
): void {
  const staying = keyStore.members.filter((member) => !leavers.includes(member.name) && !keyStore.isGone(member));
  const directories = regions.map(({ directory }) => directory);
  for (const leaver of leavers) {
    const member = memberNamed(keyStore, leaver);
    const { inventory, isServing, hasLeft } = member;
    if (isLossAccepted && !isServing && !hasLeft) continue;
    // It is there, and is emptied.
    assertNoneDamaged(regions);
    if (isLossAccepted && !isServing) continue;
    const lost = new Set<string>();
    for (const { state, owner, residency, backingKeyId } of materialsOfRegions(directories, keyStore.name)) {
      // What has an owner is being made, and may be there already.
      const isUsed = state === 'Active' || (state !== 'Destroying' && owner !== '');
      if (!isUsed || residency === 'wrapped' || inventory?.has(backingKeyId) === false) continue;
      if (!staying.some((each) => each.inventory?.has(backingKeyId))) lost.add(backingKeyId);
    }
    if (lost.size > 0)
      throw new KmsError('ConflictException', `${lost.size} backing keys ${wouldBeLostWith(member, keyStore.name)}`);
  }
}

function wouldBeLostWith({ name, isServing, hasLeft }: Member, keyStore: string): string {
  const accept = `accept that (\`drawbridge domain leave ${name} --key-store ${keyStore} --yes\`)`;
  if (isServing)
    return `are objects in the member \`${name}\` and nowhere else, and would be lost: move them first (\`drawbridge keys move\`), or delete their keys`;
  if (hasLeft)
    return `are objects in \`${name}\`, which has left, and nowhere else: have it join again (\`drawbridge domain invite --help\`) and move them first, or ${accept}`;
  return `are objects in no member that stays, and are lost if they are in \`${name}\`, which is not there: bring it back and move them first, or ${accept}`;
}
