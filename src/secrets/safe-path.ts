/**
 * Paths whose meaning nobody else can change.
 *
 * A check of a file by its name says nothing of what is opened by that name a moment later, where somebody else may rename or
 * replace what is on the way: in a folder of another user, root once loaded that user's library. So everything on the way is looked
 * at, from the root folder down, symbolic links included: each part belongs to somebody who is trusted, and nobody else can write
 * to it. In a folder with the sticky bit, such as /tmp, others can make names of their own and not change those of others. What
 * such a path means now it means later, and it can be used by its name.
 *
 * Source: OpenSSH, `StrictModes` of sshd_config(5), which asks the same of a home folder; unlink(2) and rename(2) for the sticky bit.
 */

import type { Stats } from 'node:fs';
import { lstat, readFile, readlink } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';

export class UnsafePathError extends Error {
  override readonly name = 'UnsafePathError';
}

export interface SafePathOptions {
  /** Uids that are trusted beside root and this process's own. */
  readonly owners?: readonly number[];
}

/** As the kernel has it. */
const maxLinks = 40;
const sticky = 0o1000;

/**
 * @param path Of something that exists. @returns What it is.
 * @throws UnsafePathError in words for the operator: which part of the path others can change. What `lstat` fails with is passed on.
 */
export async function assertSafePath(path: string, { owners = [] }: SafePathOptions = {}): Promise<Stats> {
  const trusted = new Set([0, process.geteuid?.() ?? 0, ...owners]);
  let pending = partsOf(resolve(path));
  let at = '/';
  let stats = await lstat(at);
  let links = 0;
  await assertKept(path, at, stats, trusted);
  for (let name = pending.shift(); name !== undefined; name = pending.shift()) {
    if (name === '..') {
      at = dirname(at);
      continue;
    }
    const next = join(at, name);
    stats = await lstat(next);
    await assertKept(path, next, stats, trusted);
    if (stats.isSymbolicLink()) {
      if (++links > maxLinks) throw Object.assign(new Error(`too many symbolic links: ${path}`), { code: 'ELOOP' });
      const target = await readlink(next);
      if (isAbsolute(target)) at = '/';
      pending = [...partsOf(target), ...pending];
    } else at = next;
  }
  // The last part may have been `..` of a link.
  return lstat(at);
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

async function assertKept(path: string, part: string, stats: Stats, trusted: ReadonlySet<number>): Promise<void> {
  const refuse = (why: string): UnsafePathError =>
    new UnsafePathError(`\`${path}\` is not safe to use: ${part === resolve(path) ? 'it' : `\`${part}\``} ${why}`);
  if (!trusted.has(stats.uid))
    throw refuse(
      `belongs to uid ${stats.uid}, who can put something else there; give another place, or change its owner`,
    );
  if (!isChangedByWriting(stats) || (stats.mode & 0o022) === 0) return;
  if (stats.isDirectory() && (stats.mode & sticky) !== 0) return;
  if ((stats.mode & 0o002) === 0 && (await isPrivateGroup(stats.gid, stats.uid))) return;
  const [who, letter] = (stats.mode & 0o002) !== 0 ? ['everybody', 'o'] : [`the group ${stats.gid}`, 'g'];
  throw refuse(`can be written by ${who}; run: chmod ${letter}-w ${part}`);
}

/** The mode of a symbolic link means nothing, and that of a socket or a device, such as `/dev/null`, says who may talk to what is behind it. */
function isChangedByWriting(stats: Stats): boolean {
  return !(stats.isSymbolicLink() || stats.isSocket() || stats.isCharacterDevice());
}

/**
 * Where every user has a group of his own, new files are often writable by that group. It gives nobody anything, as long as nobody
 * else is in it, which only the files of the user database can tell for sure: of a group that is not in them it is not believed.
 */
async function isPrivateGroup(gid: number, owner: number): Promise<boolean> {
  try {
    const [groups, users] = await Promise.all(['/etc/group', '/etc/passwd'].map(entriesOf));
    const group = groups?.find((fields) => fields[2] === String(gid));
    const names = (users ?? []).filter((fields) => fields[2] === String(owner)).map(([name]) => name);
    const isOnlyHis = (users ?? []).every((fields) => fields[3] !== String(gid) || fields[2] === String(owner));
    const members = (group?.[3] ?? '').split(',').filter((name) => name !== '');
    return group !== undefined && isOnlyHis && members.every((name) => names.includes(name));
  } catch {
    return false;
  }
}

async function entriesOf(path: string): Promise<string[][]> {
  return (await readFile(path, 'utf8')).split('\n').map((line) => line.split(':'));
}
