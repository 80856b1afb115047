/**
 * Opens the audit log for writing: its file made or checked, locked, its end verified, the chain taken up.
 *
 * Only the last megabyte is verified, so that a start takes no longer with the years; the rest is `verifyAuditLog`'s.
 * What the end may look like:
 *
 *   - whole: the next event follows it;
 *   - a whole record without its line feed: it gets one;
 *   - bytes behind the last record that are no record: they are left where they are, and a record accounts for them
 *     before anything else is written (`README.md`, "A torn line");
 *   - anything else (a changed record, a gap, a record that does not follow): refused. Going on would bury the evidence.
 */

import { closeSync, constants, fstatSync, fsyncSync, mkdirSync, openSync, readSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { defaultBudgets } from '../kms/budgets.ts';
import type { Logger } from '../kms/logger.ts';
import { tryLock } from '../secrets/file-lock.ts';
import { privacyProblem } from '../secrets/private-files.ts';
import { AppendFile } from './append-file.ts';
import { AuditError } from './audit-error.ts';
import type { AuditLog } from './audit-log.ts';
import { ChainWalker } from './chain-walker.ts';
import { ChainedAppender, type FileEnd } from './chained-appender.ts';
import { LineCutter } from './file-lines.ts';
import { OpenIntents } from './open-intents.ts';
import { ReservedSpace } from './reserved-space.ts';

export interface AuditLogOptions {
  /** Made, with mode 0700, when it is not there. */
  readonly folder: string;
  /** `default`: as durable as each event asks for; `always`: every event is synced. */
  readonly sync: 'default' | 'always';
  readonly log?: Logger;
  /** What of the disk is kept for changes; absent: as `kms/budgets.ts` says. */
  readonly reserveBytes?: number;
  /** Milliseconds since the epoch, for the records that the log writes on its own account. */
  readonly clock?: () => number;
}

export function auditLogPath(folder: string): string {
  return join(folder, 'audit.jsonl');
}

/** How much of the end is verified at first; four times as much for as long as no record is found in it. */
const tailBytes = 1024 * 1024;
/** More than this without a record is no torn line. */
const maxTailBytes = 64 * 1024 * 1024;

/** @throws AuditError `locked`, `notPrivate`, `damaged`, `io`, and `notWritten` when a torn line cannot be accounted for. */
export async function openAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const { folder, sync, log, clock = Date.now, reserveBytes = defaultBudgets.audit.reserveBytes } = options;
  const path = auditLogPath(folder);
  const descriptor = openPrivately(folder, path);
  try {
    if (!tryLock(descriptor)) {
      throw new AuditError('locked', `another process writes the audit log \`${path}\`; is a daemon already running?`);
    }
    const end = readEnd(descriptor, path);
    const { size: sizeBytes } = fstatSync(descriptor);
    const space = new ReservedSpace({ descriptor, path, reserveBytes, sizeBytes });
    const file = new AppendFile(descriptor);
    const appender = new ChainedAppender({ file, path, end, space, sync, log, clock });
    await appender.repair();
    return appender;
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function openPrivately(folder: string, path: string): number {
  try {
    if (statSync(folder, { throwIfNoEntry: false }) === undefined) mkdirSync(folder, { mode: 0o700 });
    const folderProblem = privacyProblem(folder, statSync(folder), 'folder');
    if (folderProblem !== undefined) throw new AuditError('notPrivate', folderProblem);
    const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    const descriptor = openSync(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    const problem = privacyProblem(path, fstatSync(descriptor), 'file');
    if (problem !== undefined) {
      closeSync(descriptor);
      throw new AuditError('notPrivate', problem);
    }
    syncFolder(dirname(path));
    return descriptor;
  } catch (error) {
    if (error instanceof AuditError) throw error;
    throw new AuditError('io', `cannot open the audit log \`${path}\`: ${(error as Error).message}`, { cause: error });
  }
}

/** So that the file is there after a power cut, not only its content. */
function syncFolder(folder: string): void {
  const descriptor = openSync(folder, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function readEnd(descriptor: number, path: string): FileEnd {
  const { size } = fstatSync(descriptor);
  for (let bytes = Math.min(size, tailBytes); ; bytes = Math.min(size, bytes * 4)) {
    const intents = new OpenIntents();
    const walker = walkTail(descriptor, { size, bytes, path, intents });
    const { head } = walker;
    if (head !== undefined) {
      const torn = walker.tornEnd();
      return { head, torn: torn ?? null, needsLineFeed: !walker.endsWithLineFeed, intents: intents.found() };
    }
    if (bytes >= maxTailBytes) throw damaged(path, `its last ${bytes} bytes hold no record`);
  }
}

interface Tail {
  /** Of the file. */
  readonly size: number;
  /** How many of its last bytes are walked along. */
  readonly bytes: number;
  readonly path: string;
  readonly intents: OpenIntents;
}

function walkTail(descriptor: number, { size, bytes, path, intents }: Tail): ChainWalker {
  const tail = Buffer.alloc(bytes);
  const isAll = bytes === size;
  let read = 0;
  while (read < bytes) {
    const count = readSync(descriptor, tail, read, bytes - read, size - bytes + read);
    if (count === 0) throw damaged(path, 'it became shorter while it was read');
    read += count;
  }
  // The first line of a part is most likely cut.
  const from = isAll ? 0 : tail.indexOf('\n') + 1 || bytes;
  const walker = new ChainWalker(isAll ? 'start' : 'anywhere');
  const cutter = new LineCutter();
  for (const piece of [cutter.push(tail.subarray(from)), cutter.end()].flatMap((pieces) => [...pieces])) {
    const before = walker.records;
    const problem = walker.take(piece);
    if (problem !== undefined) throw damaged(path, `${isAll ? `line ${problem.line}: ` : ''}${problem.what}`);
    if (walker.records > before) intents.take(piece.bytes);
  }
  return walker;
}

function damaged(path: string, what: string): AuditError {
  return new AuditError(
    'damaged',
    `the audit log \`${path}\` does not fit together: ${what}; keep the file as evidence, and move it away to begin a new log`,
  );
}
