/**
 * Files with secrets in them: read into memory that is wiped, and themselves overwritten and removed when their owner wants it.
 *
 * What is read lies in one buffer of its own, which is the caller's to wipe; what Node.js kept of a pipe is wiped here. From then on the
 * process leaves no core file, in which it would be.
 *
 * Overwriting is less than it seems, and whoever asks for it is told so (`whatWipingIs`): it reaches neither copies and backups nor
 * snapshots, nor the blocks that an SSD or a file system that writes elsewhere (btrfs, ZFS, overlayfs) has put aside.
 */

import { randomFillSync } from 'node:crypto';
import { constants as fileFlags, fstatSync, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, rm } from 'node:fs/promises';
import { fileProblem } from '../../secrets/file-problem.ts';
import { unreadable, unwritable } from './file-error.ts';

export const whatWipingIs =
  'overwriting does not reach copies, backups, snapshots, or the blocks that an SSD or a copy-on-write file system has put aside';

export interface SecretFile {
  /** `-` for stdin. */
  readonly path: string;
  /** The caller's to wipe. */
  readonly bytes: Buffer;
  /** Which file it was; `undefined` for stdin. */
  readonly stats: Stats | undefined;
}

/** @param path `-`: stdin. @throws Error, for more than `maxBytes` as well. */
export async function readSecretFile(path: string, maxBytes: number): Promise<SecretFile> {
  // Loaded here: it takes a library that most commands do without.
  const { disableCoreDumps } = await import('../../secrets/core-dumps.ts');
  disableCoreDumps();
  try {
    if (path === '-') return { path, bytes: await readStdin(maxBytes), stats: undefined };
    await using file = await open(path);
    const stats = await file.stat();
    if (stats.isDirectory()) throw new Unfit('it is a folder');
    return { path, bytes: await readAll(file, maxBytes), stats };
  } catch (error) {
    throw error instanceof Unfit ? new Error(`cannot read \`${path}\`: ${error.message}`) : unreadable(path, error);
  }
}

class Unfit extends Error {}

function tooLarge(maxBytes: number): Error {
  return new Unfit(`it is larger than ${maxBytes} bytes, and no key`);
}

async function readAll(file: FileHandle, maxBytes: number): Promise<Buffer> {
  const bytes = Buffer.alloc(maxBytes + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, null);
    if (bytesRead === 0) return bytes.subarray(0, length);
    length += bytesRead;
    if (length > maxBytes) {
      bytes.fill(0);
      throw tooLarge(maxBytes);
    }
  }
}

async function readStdin(maxBytes: number): Promise<Buffer> {
  // Of a folder Node.js would make an empty stdin.
  if (fstatSync(0).isDirectory()) throw new Unfit('it is a folder');
  const bytes = Buffer.alloc(maxBytes);
  let length = 0;
  for await (const piece of process.stdin as AsyncIterable<Buffer>) {
    const isTooLarge = length + piece.length > maxBytes;
    if (isTooLarge) bytes.fill(0);
    else length += piece.copy(bytes, length);
    piece.fill(0);
    if (isTooLarge) throw tooLarge(maxBytes);
  }
  return bytes.subarray(0, length);
}

/** Why a file cannot be overwritten and removed, so that nothing of it is left under another name; `undefined` if it can. */
export async function wipingProblem({ path, stats }: SecretFile): Promise<string | undefined> {
  if (stats === undefined) return 'stdin is no file';
  if (!stats.isFile()) return `\`${path}\` is no regular file`;
  if (stats.nlink > 1) return `\`${path}\` has ${stats.nlink} names (hard links)`;
  try {
    if ((await lstat(path)).isSymbolicLink()) return `\`${path}\` is a symbolic link; name the file that it leads to`;
    await using _ = await openToWipe(path);
  } catch (error) {
    return unwritable(path, error).message;
  }
  return undefined;
}

/** Overwrites the file that was read, on disk, and removes it. */
export async function wipeFile({ path, stats }: SecretFile): Promise<void> {
  try {
    await using file = await openToWipe(path);
    const { ino, dev, size } = await file.stat();
    if (ino !== stats?.ino || dev !== stats.dev) throw new Error('it is not the file any more that was read');
    await file.write(randomFillSync(Buffer.alloc(size)), 0, size, 0);
    await file.sync();
    await rm(path);
  } catch (error) {
    throw new Error(
      `the key material was imported, but \`${path}\` was not wiped: ${fileProblem(error, 'write', 'you')}`,
      {
        cause: error,
      },
    );
  }
}

function openToWipe(path: string): Promise<FileHandle> {
  return open(path, fileFlags.O_WRONLY | fileFlags.O_NOFOLLOW);
}
