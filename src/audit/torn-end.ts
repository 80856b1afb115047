/**
 * What a crash leaves behind the last record: the beginning of a line, zero bytes, or the one and then the others. Nobody was
 * answered on the strength of it. It is set aside in a file of its own, and a record names the file, its length and its hash.
 *
 * INVARIANT: whatever else stands there was put there, and is never set aside: a line with its line feed, an ending of ours
 * with a hash that is not that of the line, bytes that do not begin as a line does. A process that is killed, or a disk that is
 * full, ends a write early and writes nothing behind it; a power cut can also leave blocks that were never written, as zeros.
 */

import { hash } from 'node:crypto';
import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Link, readLink } from './chain.ts';
import { maxLineBytes } from './event-line.ts';
import type { LogStatement } from './statements.ts';

/** How every line begins. */
const beginning = Buffer.from('{"eventVersion":"1.11","userIdentity":{');
const lineFeed = 0x0a;
/** More than this without a record is no torn end. */
export const maxTornBytes = 64 * 1024 * 1024;

/** @param bytes All that stands behind the last record. */
export function isTornEnd(bytes: Buffer): boolean {
  const firstZero = bytes.indexOf(0);
  const line = firstZero === -1 ? bytes : bytes.subarray(0, firstZero);
  const zeros = bytes.subarray(line.length);
  if (!zeros.equals(Buffer.alloc(zeros.length))) return false;
  if (line.includes(lineFeed) || line.length >= maxLineBytes || readLink(line)?.isIntact === false) return false;
  const compared = Math.min(line.length, beginning.length);
  return line.subarray(0, compared).equals(beginning.subarray(0, compared));
}

/** The file, beside the log, of what stood behind this record. Its hash is in the name, for logs that were begun anew. */
function asideName({ sequence, hash: ofRecord }: Link): string {
  return `audit.torn-${sequence}-${ofRecord.slice(0, 12)}`;
}

export interface TornEnd {
  /** Of the log, open for reading and writing. */
  readonly descriptor: number;
  /** Of the log. */
  readonly path: string;
  /** Where the last record ends. */
  readonly offset: number;
  readonly bytes: Buffer;
  /** The last record. */
  readonly head: Link;
}

/**
 * Sets a torn end aside and cuts it off the log, in this order, so that a full disk loses nothing of it. It can be interrupted anywhere: the next start does the rest.
 * @returns What has to go on record before anything else.
 * @throws the system's error.
 */
export function setAside({ descriptor, path, offset, bytes, head }: TornEnd): LogStatement {
  writePrivately(join(dirname(path), asideName(head)), bytes);
  ftruncateSync(descriptor, offset);
  fsyncSync(descriptor);
  return statementOf(asideName(head), offset, bytes);
}

/**
 * After a crash between cutting off and putting on record.
 * @param head The last record.
 * @returns What is still owed to the record, if anything.
 */
export function owedTornEnd(path: string, offset: number, head: Link): LogStatement | undefined {
  const bytes = readAside(dirname(path), asideName(head));
  return bytes === undefined ? undefined : statementOf(asideName(head), offset, bytes);
}

/**
 * @param folder Of the log.
 * @returns `undefined` when there is no such file.
 * @throws the system's error, and an Error for what is no file or longer than a torn end.
 */
export function readAside(folder: string, file: string): Buffer | undefined {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  let descriptor: number;
  try {
    descriptor = openSync(join(folder, basename(file)), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile() || stats.size > maxTornBytes)
      throw new Error(`\`${file}\` is not what a crash left; move it away`);
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function statementOf(file: string, offset: number, bytes: Buffer): LogStatement {
  return { tornEnd: { file, offset, bytes: bytes.length, sha256: hash('sha256', bytes) } };
}

function writePrivately(path: string, bytes: Buffer): void {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  const descriptor = openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
  try {
    if (!fstatSync(descriptor).isFile()) throw new Error(`\`${path}\` is not a file`);
    for (let from = 0; from < bytes.length; ) from += writeSync(descriptor, bytes, from);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  const folder = openSync(dirname(path), constants.O_RDONLY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
