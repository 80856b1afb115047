/**
 * Output that is there completely or not at all.
 *
 * A named file is written under another name beside it and takes its name only when everything is written, verified and
 * on disk; until then, and after any failure, whatever had that name is as it was. Stdout, pipes and devices cannot be
 * taken back: what goes there is final as it goes.
 *
 * A program that is killed (SIGKILL, no more memory) leaves its other file, perhaps with a plaintext in it. The next one that
 * writes to that name removes it. Whoever writes holds a lock on his file, which ends with him: so the file of a program that
 * still runs, here or in another container, is not taken for such a leftover.
 */

import { constants as fileFlags, rmSync } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { constants } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Writable } from 'node:stream';
import { unwritable } from './file-error.ts';

/** Ctrl-C, `kill`, a terminal that is closed. */
const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const suffix = '.partial';
/** What follows the name of the output. */
const isPartial = /^\.[0-9a-f]{8}\.partial$/;

export interface Output {
  readonly stream: Writable;
  /** Everything was written and verified. */
  complete(): Promise<void>;
  abandon(): Promise<void>;
}

/**
 * @param path `undefined` or `-`: stdout.
 * @param mode For a new file: plaintexts are their owner's alone.
 */
export async function openOutput(path: string | undefined, mode: number): Promise<Output> {
  if (path === undefined || path === '-') return finalOutput(process.stdout);
  const existing = await stat(path).catch(() => undefined); // It is only asked whether it is something special.
  if (existing !== undefined && !existing.isFile()) return finalOutput(await openSpecial(path));
  await removeLeftovers(path);
  // Loaded here and in this way, because every command loads this file, and most write to stdout.
  const { randomBytes } = process.getBuiltinModule('node:crypto');
  const partial = `${path}.${randomBytes(4).toString('hex')}${suffix}`;
  const removeAtOnce = (): void => rmSync(partial, { force: true });
  process.on('exit', removeAtOnce);
  const onSignal = (signal: NodeJS.Signals): void => {
    removeAtOnce();
    process.exit(128 + constants.signals[signal]);
  };
  for (const signal of endings) process.once(signal, onSignal);
  const release = (): void => {
    process.off('exit', removeAtOnce);
    for (const signal of endings) process.off(signal, onSignal);
  };
  // The signals come first: from when the file is there, something removes it.
  const file = await openLocked(partial, mode).catch((error: unknown) => {
    release();
    throw unwritable(path, error);
  });
  const stream = file.createWriteStream({ flush: true });
  return {
    stream,
    async complete() {
      await rename(partial, path);
      release();
    },
    async abandon() {
      stream.destroy();
      await rm(partial, { force: true });
      release();
    },
  };
}

/**
 * A pipe or device that is there. One of somebody else, such as a named pipe that he made where he foresaw the output, would carry
 * it to him.
 */
async function openSpecial(path: string): Promise<Writable> {
  let file: FileHandle;
  try {
    file = await open(path, fileFlags.O_WRONLY | fileFlags.O_NOCTTY);
  } catch (error) {
    throw unwritable(path, error);
  }
  const stats = await file.stat();
  const isOurs = stats.uid === 0 || stats.uid === process.geteuid?.();
  if (isOurs && !stats.isFile()) return file.createWriteStream();
  await file.close();
  throw new Error(
    `cannot write \`${path}\`: ${isOurs ? 'it was replaced meanwhile' : `it belongs to uid ${stats.uid}, who might read it`}`,
  );
}

/** A new file with a lock on it. */
async function openLocked(partial: string, mode: number): Promise<FileHandle> {
  const { tryLock } = await fileLocks();
  for (;;) {
    const file = await open(partial, 'wx', mode);
    tryLock(file.fd); // A file system without locks refuses it to `removeLeftovers` as well.
    // Somebody may have taken it for a leftover until it was locked, and not since.
    if ((await file.stat()).nlink > 0) return file;
    await file.close();
  }
}

/** What cannot be looked at or removed is left: it is in nobody's way. */
async function removeLeftovers(path: string): Promise<void> {
  const folder = dirname(path);
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    if (!name.startsWith(`${basename(path)}.`) || !isPartial.test(name.slice(basename(path).length))) continue;
    const leftover = join(folder, name);
    try {
      await using file = await open(leftover, fileFlags.O_RDONLY | fileFlags.O_NOFOLLOW | fileFlags.O_NONBLOCK);
      const stats = await file.stat();
      if (!stats.isFile() || stats.uid !== process.geteuid?.()) continue;
      if ((await fileLocks()).tryLock(file.fd)) await rm(leftover, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    }
  }
}

/** Loaded by those who write to a file: it takes longer than most commands do. */
function fileLocks(): Promise<typeof import('../../secrets/file-lock.ts')> {
  return import('../../secrets/file-lock.ts');
}

/** Would what is written there come up on a terminal? @param path `undefined` or `-`: stdout. */
export function isTerminal(path: string | undefined): boolean {
  return (path === undefined || path === '-') && process.stdout.isTTY === true;
}

function finalOutput(stream: Writable): Output {
  stream.on('error', () => undefined); // Whoever writes to it hears of it as well.
  return { stream, complete: () => Promise.resolve(), abandon: () => Promise.resolve() };
}
