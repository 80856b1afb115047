/**
 * What root does itself in a data folder, with the library of its HSM: as the folder's owner, who is the daemon's user, and with what that one may
 * rely on, as a start does. Root would else load a library that the owner, or anybody else, has put there, and leave files that the owner cannot
 * open.
 */

import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Configuration } from '../../config/configuration-schema.ts';

/**
 * For the rest of the process, which cannot be root again: it opens metadata that the owner may have written as he likes. What only root can open is
 * open before.
 * @throws UnsafePathError for a path of the configuration that others than root and the owner can change.
 */
export async function becomeOwnerOf(configuration: Configuration): Promise<void> {
  // Loaded before: their files may be root's alone.
  const { assertPathsAreOurs } = await import('../../daemon/index.ts');
  const { becomeOwnerOf: become } = await import('../../secrets/act-as-owner.ts');
  become(nearestFolder(configuration.dataDir));
  await assertPathsAreOurs(configuration);
}

/**
 * For as long as the work takes, which looks at the paths itself where it begins with them, and parses nothing that is the owner's but the profile
 * of his HSM, in JavaScript: what is asked of the HSM is in processes that are his for good.
 */
export async function asOwnerOf<Result>(
  { dataDir }: Pick<Configuration, 'dataDir'>,
  work: () => Promise<Result>,
): Promise<Result> {
  const { actAsOwner, actAsSelf } = await import('../../secrets/act-as-owner.ts');
  actAsOwner(nearestFolder(dataDir));
  try {
    return await work();
  } finally {
    actAsSelf();
  }
}

/** The data folder itself may not be there yet. */
function nearestFolder(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestFolder(dirname(path));
}
