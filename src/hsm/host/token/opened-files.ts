/**
 * The files of a software token that its library has opened, and whether they are still those at their paths.
 *
 * NSS softoken (3.87) keeps its database open. Where the folder is moved away, or another is put in its place, a process that opened it before
 * reads on in the former one, uses its keys, and wraps new ones under its domain key, while it writes into what is at the path by then. Once the
 * former folder is thrown away, what was made meanwhile is opened by nobody. So whoever makes a key looks whether the files are the same,
 * before it is answered; where they are not, the next process opens what is there.
 *
 * Source: proc(5), "/proc/pid/fd": each entry is a link to the file that is open. Its path is one without links: where the library was
 * told another that leads there, that is the one that the next process opens.
 */

import { readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { HostFailure } from './failures.ts';

/** Structured cloning must be able to copy it. */
export interface OpenedFile {
  readonly path: string;
  readonly device: bigint;
  readonly inode: bigint;
}

const descriptors = '/proc/self/fd';

/** The regular files that this process has open, and which have a path. */
export function openedFiles(): readonly OpenedFile[] {
  return readdirSync(descriptors).flatMap((descriptor) => {
    const open = fileAt(join(descriptors, descriptor));
    if (open === undefined) return [];
    const path = realPathOf(join(descriptors, descriptor));
    const isAtPath = path !== undefined && isSame(fileAt(path), open);
    return isAtPath ? [{ path, ...open }] : [];
  });
}

/** What was opened since, each at the path by which the library was told of it, where it was by another one. */
export function openedSince(before: readonly OpenedFile[], libraryParameters: string | null): readonly OpenedFile[] {
  const folders = (libraryParameters ?? '').match(/\/[^'"\s]+/g) ?? [];
  return openedFiles()
    .filter((file) => !before.some((former) => isSame(former, file)))
    .map((file) => {
      const named = folders.find((folder) => realPathOf(folder) === dirname(file.path));
      return named === undefined ? file : { ...file, path: join(named, basename(file.path)) };
    });
}

/** Throws `HostFailure` (`tokenGone`) for one that is not at its path any more. */
export function assertInPlace(files: readonly OpenedFile[]): void {
  for (const file of files)
    if (!isSame(fileAt(file.path), file))
      throw new HostFailure('tokenGone', `\`${file.path}\` is not the file any more that the library has open`);
}

type File = Pick<OpenedFile, 'device' | 'inode'>;

/** `undefined`: there is no regular file. */
function fileAt(path: string): File | undefined {
  try {
    const found = statSync(path, { bigint: true });
    return found.isFile() ? { device: found.dev, inode: found.ino } : undefined;
  } catch {
    return undefined; // As for `realPathOf`.
  }
}

function isSame(one: File | undefined, other: File): boolean {
  return one?.device === other.device && one.inode === other.inode;
}

function realPathOf(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined; // It is not there (any more), or may not be looked at: no process of ours would open it.
  }
}
