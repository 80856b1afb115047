/** What a command reads: a named file or stdin, as a stream, as a whole up to a limit, or as its hash. */

import { createHash } from 'node:crypto';
import { fstatSync, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { unreadable } from './file-error.ts';
import { showProgress } from './progress.ts';

export interface Input {
  readonly stream: Readable;
  /** `undefined` for a pipe. */
  readonly totalBytes: number | undefined;
}

/** @param path `undefined` or `-`: stdin. */
export async function openInput(path: string | undefined): Promise<Input> {
  if (path === undefined || path === '-') {
    // Of a folder Node.js would make an empty stdin.
    if (fstatSync(0).isDirectory()) throw new Error('cannot read `-`: it is a folder');
    return { stream: process.stdin, totalBytes: undefined };
  }
  // Opened before there is a stream: nobody listens to that yet, and an error that nobody hears ends the program.
  let file: FileHandle;
  let stats: Stats;
  try {
    file = await open(path);
    stats = await file.stat();
  } catch (error) {
    throw unreadable(path, error);
  }
  if (stats.isDirectory()) {
    await file.close();
    throw new Error(`cannot read \`${path}\`: it is a folder`);
  }
  return { stream: file.createReadStream(), totalBytes: stats.isFile() ? stats.size : undefined };
}

/** All of the input, or `undefined` when it is longer than `maxBytes`; then the rest of it is not read. */
export async function readUpTo(path: string | undefined, maxBytes: number): Promise<Buffer | undefined> {
  const { stream } = await openInput(path);
  const pieces: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of stream as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > maxBytes) return undefined;
      pieces.push(piece);
    }
  } catch (error) {
    throw unreadable(path, error);
  }
  return Buffer.concat(pieces);
}

/** Several times what any policy may have. */
const maxPolicyBytes = 1024 * 1024;

/** The text of a policy. @param path `-`: stdin. */
export async function readPolicy(path: string): Promise<string> {
  const bytes = await readUpTo(path, maxPolicyBytes);
  if (bytes === undefined) throw new Error(`\`${path}\` is larger than ${maxPolicyBytes} bytes: not a policy`);
  return bytes.toString('utf8');
}

/** The hash of an input of any size, which passes by piece by piece. @param algorithm Node's name: `sha256`. */
export async function hashInput(path: string | undefined, algorithm: string): Promise<Buffer> {
  const { stream, totalBytes } = await openInput(path);
  const progress = await showProgress('hashing', totalBytes);
  const hash = createHash(algorithm);
  try {
    await pipeline(stream, progress.counter, hash);
  } catch (error) {
    throw unreadable(path, error);
  } finally {
    progress.stop();
  }
  return hash.digest();
}
