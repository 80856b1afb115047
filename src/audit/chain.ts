/**
 * How one line of the audit log is tied to the line before it. `README.md` beside this file tells it with an example.
 *
 *     {…the event…,"drawbridge":{"sequence":N,"previousHash":"H(N-1)","hash":"H(N)"}}
 *
 * The hash of a line is SHA-256, in hexadecimal, of the line's bytes before `,"hash":"`. So it covers the event, the
 * sequence number and the hash of the line before, and each line can be checked by itself, the last one too. There is no
 * key in it: the chain shows damage and careless edits; against whoever can rewrite the file from some line to its end,
 * what counts is a hash that was noted elsewhere.
 */

import { hash } from 'node:crypto';

export interface Link {
  readonly sequence: number;
  readonly hash: string;
}

/** Before the first line. */
export const chainStart: Link = { sequence: 0, hash: '0'.repeat(64) };

/** What is tied to a line beside its event, and its line feed, has at most so many bytes. */
export const maxLinkBytes = 256;

/**
 * Completes a line, with its line feed, where it goes to the file from: nothing of it is copied or encoded a second time.
 * @param event The event as JSON text without its closing brace.
 * @param previous The line before.
 * @param at Where the line begins in `bytes`, which has room for the event and `maxLinkBytes` behind it.
 */
export function writeChainedLine(
  event: string,
  previous: Link,
  bytes: Buffer,
  at: number,
): { readonly end: number; readonly link: Link } {
  const sequence = previous.sequence + 1;
  const covered = `${event},"drawbridge":{"sequence":${sequence},"previousHash":"${previous.hash}"`;
  const coveredEnd = at + bytes.write(covered, at, 'utf8');
  const link = { sequence, hash: hash('sha256', bytes.subarray(at, coveredEnd)) };
  return { end: coveredEnd + bytes.write(`,"hash":"${link.hash}"}}\n`, coveredEnd, 'latin1'), link };
}

const ending = /,"drawbridge":\{"sequence":(\d{1,16}),"previousHash":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}\}$/;
const hashMemberBytes = ',"hash":"'.length + 64 + '"}}'.length;
const maxEndingBytes = 256;

/**
 * Reads the end of a line.
 * @returns `undefined` when it does not end as a line of ours; `isIntact` is whether its bytes have the hash it says.
 */
export function readLink(
  line: Buffer,
): { readonly link: Link; readonly previousHash: string; readonly isIntact: boolean } | undefined {
  const match = ending.exec(line.toString('latin1', Math.max(0, line.length - maxEndingBytes)));
  if (match === null) return undefined;
  const [, sequence = '', previousHash = '', stated = ''] = match;
  const isIntact = hash('sha256', line.subarray(0, line.length - hashMemberBytes)) === stated;
  return { link: { sequence: Number(sequence), hash: stated }, previousHash, isIntact };
}
