/**
 * Is there room on the token's disk for a login?
 *
 * SoftHSM2 (2.6.1) empties `token.object` in the token's folder at each login, and writes it anew. On a disk that is full, whoever else writes
 * there may take the block meanwhile: the file stays empty, and the token is gone with all keys in it. So a host does not log in then, nor does a
 * program of one act (`one-login.ts`). Hosts that are connected serve on; that one is tried again.
 */

import { readFileSync, statfsSync } from 'node:fs';
import type { VendorProfile } from '../../vendor-profile.ts';
import { HostFailure } from './failures.ts';

/** The file has some hundred bytes; others write until it is written. */
const neededBytes = 1024 * 1024;

/** Throws `HostFailure` (`cannotOpen`). Where the disk cannot be asked, the library says what is wrong. */
export function assertRoomForLogin(rewritten: VendorProfile['rewrittenAtLogin']): void {
  const folder = rewritten === null ? undefined : namedTokenFolder(rewritten)?.folder;
  const freeBytes = folder === undefined ? undefined : freeBytesIn(folder);
  if (freeBytes === undefined || freeBytes >= neededBytes) return;
  const left = `the disk of \`${folder}\` has ${Math.floor(freeBytes / 1024)} KiB left`;
  throw new HostFailure('cannotOpen', `${left}, and a login on a full disk loses the token: it waits for 1,024 KiB`);
}

/** The folder of the tokens, and the file in which the library finds it. */
export function namedTokenFolder({
  variable,
  otherwise,
  setting,
}: NonNullable<VendorProfile['rewrittenAtLogin']>): { readonly file: string; readonly folder: string } | undefined {
  const file = process.env[variable] ?? otherwise;
  const lines = textOf(file)?.split('\n') ?? [];
  // As SoftHSM2 reads it: what stands behind a `#` is a comment, in any line.
  const settings = lines.map((line) =>
    line
      .replace(/#.*/, '')
      .split('=', 2)
      .map((part) => part.trim()),
  );
  const folder = settings.findLast(([name]) => name === setting)?.[1];
  return folder === undefined ? undefined : { file, folder };
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function freeBytesIn(folder: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}
