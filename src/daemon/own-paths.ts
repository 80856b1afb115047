/** What the configuration names and the daemon relies on by its name: none of it may be in other people's hands. */

import { dirname, isAbsolute } from 'node:path';
import type { Configuration, TokenConfiguration } from '../config/configuration-schema.ts';
import { findLibrary, loadVendorProfile, VendorProfileError } from '../hsm/vendor-profile.ts';
import { assertSafePath } from '../secrets/safe-path.ts';
import { libraryOf } from './configured-key-stores.ts';

/**
 * The data folder, the audit log, the policies, those of roles too, the PINs, the certificates and their keys, the libraries, their own files as far as
 * variables name them (`SOFTHSM2_CONF`), and profiles. What is not there yet is made in the last folder on the way that is.
 * @throws UnsafePathError for the first that others can change.
 */
export async function assertPathsAreOurs(configuration: Configuration): Promise<void> {
  const { dataDir, audit, identity, keyStores, hsms, regions, roles } = configuration;
  const paths = [dataDir, audit.folder, identity.policies];
  for (const { trustPolicy } of Object.values(roles)) if (typeof trustPolicy === 'string') paths.push(trustPolicy);
  const members = [...keyStores.values()].flatMap((keyStore) => keyStore.members);
  const ways = async (): Promise<void> => {
    for (const path of paths.splice(0)) if (path !== undefined) await assertWayIsSafe(path);
  };
  const tokens = [...members, ...(hsms?.values() ?? [])];
  for (const { profile } of tokens) if (profile.includes('/')) paths.push(profile);
  // The profile is read for the library, so it comes first.
  await ways();
  for (const token of tokens) paths.push(foundLibraryOf(token), ...Object.values(token.environment).filter(isAbsolute));
  for (const { trustAnchorCertificate } of hsms?.values() ?? []) paths.push(trustAnchorCertificate);
  for (const { pin } of members) {
    if ('file' in pin) paths.push(pin.file);
  }
  for (const { tls } of regions) {
    for (const source of [tls?.certificate, tls?.key])
      if (source !== undefined && 'file' in source) paths.push(source.file);
  }
  await ways();
}

/** `undefined` where there is none, or no such profile, of which whoever opens the token is told. */
function foundLibraryOf({ library, profile }: Pick<TokenConfiguration, 'library' | 'profile'>): string | undefined {
  if (library !== undefined) return library;
  try {
    return findLibrary(loadVendorProfile(profile));
  } catch (error) {
    if (error instanceof VendorProfileError) return undefined;
    throw error;
  }
}

/**
 * For whoever gives libraries more than a daemon gives them: they, and the profiles, are in no hands but root's and this process's, as
 * it runs now, and so not in those of the daemon's user.
 * @throws UnsafePathError, or as `libraryOf`.
 */
export async function assertLibrariesAreOurs({ keyStores }: Pick<Configuration, 'keyStores'>): Promise<void> {
  for (const member of [...keyStores.values()].flatMap(({ members }) => members)) {
    if (member.profile.includes('/')) await assertSafePath(member.profile);
    await assertSafePath(libraryOf(member));
  }
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
