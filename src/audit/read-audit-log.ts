/**
 * Reads the audit log: its events, for people, and its chain, for proof. Neither locks it, so both work beside a running
 * daemon, and neither holds more of it in memory than a line.
 */

import { hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { fileProblem } from '../secrets/file-problem.ts';
import { AcceptedPlaces } from './accepted-places.ts';
import { AuditError } from './audit-error.ts';
import { type Link, readLink } from './chain.ts';
import { type ChainProblem, ChainWalker } from './chain-walker.ts';
import { maxLineBytes } from './event-line.ts';
import { LineCutter, type LinePiece } from './file-lines.ts';
import { mayHoldStatement, readStatement } from './log-statement.ts';
import { auditLogPath } from './open-audit-log.ts';
import { placeText } from './place.ts';
import type { KnownBytes } from './statements.ts';
import { isTornEnd, readAside } from './torn-end.ts';

/** An event as it stands in the log. */
export interface RecordedEvent {
  readonly [member: string]: unknown;
  readonly eventTime: string;
  readonly eventName: string;
  readonly drawbridge: { readonly sequence: number; readonly previousHash: string; readonly hash: string };
}

export interface ReadOptions {
  /** Only events with a higher sequence number. */
  readonly after?: number;
  /** At most so many. */
  readonly limit?: number;
  readonly filter?: (event: RecordedEvent) => boolean;
}

/**
 * The events, oldest first, as far as the log goes now. What is no record (a torn line, also the one that a daemon may be
 * writing at this moment) is passed over: `verifyAuditLog` judges, this only reads.
 */
export async function* readAuditEvents(folder: string, options: ReadOptions = {}): AsyncGenerator<RecordedEvent> {
  const { after = 0, limit = Number.POSITIVE_INFINITY, filter = () => true } = options;
  if (limit <= 0) return;
  let count = 0;
  for await (const { bytes, isStart, next } of linesOf(folder)) {
    if (!isStart || next === 'more') continue;
    const record = readLink(bytes);
    if (record === undefined || record.link.sequence <= after) continue;
    const event = parseEvent(bytes);
    if (event === undefined || !filter(event)) continue;
    yield event;
    if (++count >= limit) return;
  }
}

/** A problem with the name of its place, as `audit accept` takes it. */
export interface NamedProblem extends ChainProblem {
  readonly place: string;
}

/** A file with what a crash left of a line, and whether it has that still. It is no record: the log is whole without it. */
export interface AsideFile {
  readonly file: string;
  readonly bytes: number;
  readonly state: 'kept' | 'missing' | 'changed';
}

export interface Verification {
  readonly ok: boolean;
  /** Intact events, up to the first problem. */
  readonly events: number;
  /** The last of them: whoever noted this earlier, elsewhere, can compare. */
  readonly head: Link;
  /** Places that operators have accepted. */
  readonly accepted: number;
  /** What crashes left and was set aside, oldest first. */
  readonly setAside: readonly AsideFile[];
  readonly firstProblem?: NamedProblem;
}

/**
 * Proves that no line was changed, dropped, added or moved. What it cannot see by itself is the loss of whole lines at
 * the very end, and a log that was rewritten from some line to its end; both show against a `head` that was noted before.
 * A line that a running daemon is writing at this moment is reported as incomplete: verify again, or without it.
 * @param others Told of every further problem, and of the first: the walk then goes on to the end. Absent: it ends at the first.
 * @throws AuditError `io` when there is no log to read.
 */
export async function verifyAuditLog(folder: string, others?: (problem: NamedProblem) => void): Promise<Verification> {
  const accepted = await acceptedPlacesIn(folder);
  const setAside: AsideFile[] = [];
  let firstProblem: NamedProblem | undefined;
  const note = (problem: ChainProblem): void => {
    const named = { ...problem, place: placeText(problem) };
    firstProblem ??= named;
    others?.(named);
  };
  const walker = new ChainWalker({
    from: 'start',
    isAccepted(problem) {
      if (accepted.holds(problem)) return true;
      note(problem);
      return others !== undefined;
    },
  });
  for await (const piece of linesOf(folder)) {
    if (walker.take(piece) !== undefined) break;
    const statement = piece.isStart ? readStatement(piece.bytes) : undefined;
    if (statement !== undefined && 'tornEnd' in statement) setAside.push(lookAside(folder, statement.tornEnd));
  }
  const end = firstProblem === undefined || others !== undefined ? walker.end() : undefined;
  if (end !== undefined) note((await isTorn(folder, end)) ? { ...end, what: incomplete } : end);
  const { head, records } = walker;
  if (head === undefined) throw new TypeError('a walk from the start has a head');
  const found = { ok: firstProblem === undefined, events: records, head, accepted: accepted.count, setAside };
  return firstProblem === undefined ? found : { ...found, firstProblem };
}

const incomplete =
  'the log ends in the middle of a record: the daemon is writing it, or died doing so and was not started since';

function lookAside(folder: string, { file, bytes, sha256 }: KnownBytes & { readonly file: string }): AsideFile {
  try {
    const found = readAside(folder, file);
    if (found === undefined) return { file, bytes, state: 'missing' };
    return { file, bytes, state: hash('sha256', found) === sha256 ? 'kept' : 'changed' };
  } catch {
    // Something else stands there, or nothing that this user may read.
    return { file, bytes, state: 'changed' };
  }
}

async function acceptedPlacesIn(folder: string): Promise<AcceptedPlaces> {
  const accepted = new AcceptedPlaces();
  for await (const { bytes, isStart, next } of linesOf(folder)) {
    if (isStart && next !== 'more' && mayHoldStatement(bytes) && readLink(bytes)?.isIntact) accepted.take(bytes);
  }
  return accepted;
}

/** Whether a start would set aside what the log ends with. */
async function isTorn(folder: string, { offset, bytes }: ChainProblem): Promise<boolean> {
  // A line may be longer than that only by zeros, of which as many are looked at.
  const part = Buffer.alloc(Math.min(bytes + 1, 2 * maxLineBytes));
  await using file = await openForReading(auditLogPath(folder));
  const { bytesRead } = await file.read(part, 0, part.length, offset);
  return isTornEnd(part.subarray(0, bytesRead));
}

const chunkBytes = 64 * 1024;

async function* linesOf(folder: string): AsyncGenerator<LinePiece> {
  await using file = await openForReading(auditLogPath(folder));
  const cutter = new LineCutter();
  const chunk = Buffer.alloc(chunkBytes);
  for (;;) {
    const { bytesRead } = await file.read(chunk, 0, chunkBytes, null);
    if (bytesRead === 0) break;
    yield* cutter.push(chunk.subarray(0, bytesRead));
  }
  yield* cutter.end();
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new AuditError('io', `cannot read the audit log \`${path}\`: ${fileProblem(error, 'read', 'you')}`, {
      cause: error,
    });
  }
}

function parseEvent(line: Buffer): RecordedEvent | undefined {
  try {
    // A line that ends like a record has the chain's members; the others are as whoever wrote the line left them.
    return JSON.parse(line.toString('utf8')) as RecordedEvent;
  } catch {
    // No JSON: no record.
    return undefined;
  }
}
