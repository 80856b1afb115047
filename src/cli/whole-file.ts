/**
 * Output that is there completely or not at all.
 *
 * A named file is written under another name beside it and takes its name only when everything is written, verified and
 * on disk; until then, and after any failure, whatever had that name is as it was. Stdout, pipes and devices cannot be
 * taken back: what goes there is final as it goes.
 */

import { randomBytes } from 'node:crypto';
import { createWriteStream, rmSync } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { constants } from 'node:os';
import type { Writable } from 'node:stream';

/** Ctrl-C, `kill`, a terminal that is closed. */
const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

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
  if (existing !== undefined && !existing.isFile()) return finalOutput(createWriteStream(path));
  const partial = `${path}.${randomBytes(4).toString('hex')}.partial`;
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
  const file = await open(partial, 'wx', mode).catch((error: unknown) => {
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

/** Would what is written there come up on a terminal? @param path `undefined` or `-`: stdout. */
export function isTerminal(path: string | undefined): boolean {
  return (path === undefined || path === '-') && process.stdout.isTTY === true;
}

/** @param path `undefined`: stdout. */
export function unwritable(path: string | undefined, error: unknown): Error {
  const { code, message } = error as NodeJS.ErrnoException;
  return new Error(`cannot write \`${path ?? '-'}\`: ${code ?? message}`, { cause: error });
}

function finalOutput(stream: Writable): Output {
  stream.on('error', () => undefined); // Whoever writes to it hears of it as well.
  return { stream, complete: () => Promise.resolve(), abandon: () => Promise.resolve() };
}
