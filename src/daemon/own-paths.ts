/** What the configuration names and the daemon relies on by its name: none of it may be in other people's hands. */

import { dirname } from 'node:path';
import type { Configuration } from '../config/configuration-schema.ts';
import { assertSafePath } from '../secrets/safe-path.ts';

/**
 * The data folder, the audit log, the policies, those of roles too, the PINs, the certificates and their keys, the libraries and profiles. What is not there yet is made in the last
 * folder on the way that is.
 * @throws UnsafePathError for the first that others can change.
 */
export async function assertPathsAreOurs(configuration: Configuration): Promise<void> {
  const { dataDir, audit, identity, keyStores, hsms, regions, roles } = configuration;
  const paths = [dataDir, audit.folder, identity.policies];
  for (const { trustPolicy } of Object.values(roles)) if (typeof trustPolicy === 'string') paths.push(trustPolicy);
  const members = [...keyStores.values()].flatMap((keyStore) => keyStore.members);
  for (const { library, profile } of [...members, ...(hsms?.values() ?? [])])
    paths.push(library, profile.includes('/') ? profile : undefined);
  for (const { trustAnchorCertificate } of hsms?.values() ?? []) paths.push(trustAnchorCertificate);
  for (const { pin } of members) {
    if ('file' in pin) paths.push(pin.file);
  }
  for (const { tls } of regions) {
    for (const source of [tls?.certificate, tls?.key])
      if (source !== undefined && 'file' in source) paths.push(source.file);
  }
  for (const path of paths) if (path !== undefined) await assertWayIsSafe(path);
}

/** @throws UnsafePathError when others can change what the path means, whether or not there is something at its end. */
export async function assertWayIsSafe(path: string): Promise<void> {
  try {
    await assertSafePath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await assertWayIsSafe(dirname(path));
  }
}
