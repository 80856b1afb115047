/**
 * Reads the audit log: its events, for people, and its chain, for proof. Neither locks it, so both work beside a running
 * daemon, and neither holds more of it in memory than a line.
 */

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { AuditError } from './audit-error.ts';
import { type Link, readLink } from './chain.ts';
import { type ChainProblem, ChainWalker } from './chain-walker.ts';
import { LineCutter, type LinePiece } from './file-lines.ts';
import { auditLogPath } from './open-audit-log.ts';

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

export interface Verification {
  readonly ok: boolean;
  /** Intact events, up to the first problem. */
  readonly events: number;
  /** The last of them: whoever noted this earlier, elsewhere, can compare. */
  readonly head: Link;
  readonly firstProblem?: ChainProblem;
}

/**
 * Proves that no line was changed, dropped, added or moved. What it cannot see by itself is the loss of whole lines at
 * the very end, and a log that was rewritten from some line to its end; both show against a `head` that was noted before.
 * A line that a running daemon is writing at this moment is reported as incomplete: verify again, or without it.
 * @throws AuditError `io` when there is no log to read.
 */
export async function verifyAuditLog(folder: string): Promise<Verification> {
  const walker = new ChainWalker('start');
  const result = (firstProblem?: ChainProblem): Verification => {
    const { head, records } = walker;
    if (head === undefined) throw new TypeError('a walk from the start has a head');
    const found = { ok: firstProblem === undefined, events: records, head };
    return firstProblem === undefined ? found : { ...found, firstProblem };
  };
  for await (const piece of linesOf(folder)) {
    const problem = walker.take(piece);
    if (problem !== undefined) return result(problem);
  }
  const torn = walker.tornEnd();
  if (torn === undefined) return result();
  return result({
    line: torn.firstLine,
    what: 'the log ends in the middle of a record: the daemon is writing it, or died doing so and was not started since',
  });
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
    throw new AuditError('io', `cannot read the audit log \`${path}\`: ${(error as Error).message}`, { cause: error });
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
