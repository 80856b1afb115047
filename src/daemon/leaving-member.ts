/** What would be lost with a member that leaves: keys that are token objects are in one member alone. */

import type { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { KeyView } from '../keys/key-view.ts';
import { materialsOfRegions } from '../keys/regions-of-material.ts';
import { KmsError } from '../kms/errors.ts';
import { memberNamed, type RotationChoices } from './domain-rotation.ts';

/**
 * What is in one that serves can be moved, and is not given up. What is in one that does not serve may be lost already, which somebody has
 * to accept who was told how much it is; of one that was never there it may be all that no other member has.
 * @throws KmsError `ConflictException` with how many keys would be lost, and what to do.
 */
export function assertNothingIsLost(
  regions: readonly { readonly directory: Pick<KeyView, 'onRecord'> }[],
  keyStore: JoinedKeyStore,
  { leaver, isLossAccepted = false }: RotationChoices,
): void {
  if (leaver === undefined) return;
  const { inventory, isServing } = memberNamed(keyStore, leaver);
  if (isLossAccepted && !isServing) return;
  const staying = keyStore.members.filter(({ name }) => name !== leaver);
  const directories = regions.map(({ directory }) => directory);
  const lost = new Set<string>();
  for (const { state, owner, residency, backingKeyId } of materialsOfRegions(directories, keyStore.name)) {
    // What has an owner is being made, and may be there already.
    const isUsed = state === 'Active' || (state !== 'Destroying' && owner !== '');
    if (!isUsed || residency === 'wrapped' || inventory?.has(backingKeyId) === false) continue;
    if (!staying.some((member) => member.inventory?.has(backingKeyId))) lost.add(backingKeyId);
  }
  if (lost.size === 0) return;
  const what = isServing
    ? `are objects in the member \`${leaver}\` and nowhere else, and would be lost: move them first (\`drawbridge keys move\`), or delete their keys`
    : `are objects in no member that stays, and are lost if they are in \`${leaver}\`, which is not there: bring it back and move them first, or accept that (\`drawbridge domain leave ${leaver} --yes\`)`;
  throw new KmsError('ConflictException', `${lost.size} backing keys ${what}`);
}
