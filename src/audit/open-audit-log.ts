/**
 * Opens the audit log for writing: its file made or checked, locked, its end verified (`log-end.ts`), what a crash left behind it
 * set aside and on record, the chain taken up.
 */

import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { defaultBudgets } from '../kms/budgets.ts';
import type { Logger } from '../kms/logger.ts';
import { tryLock } from '../secrets/file-lock.ts';
import { fileProblem } from '../secrets/file-problem.ts';
import { privacyProblem } from '../secrets/private-files.ts';
import { AppendFile } from './append-file.ts';
import { AuditError } from './audit-error.ts';
import type { AuditHead, AuditLog } from './audit-log.ts';
import { ChainedAppender } from './chained-appender.ts';
import { holds, type LogEnd, readEnd } from './log-end.ts';
import { auditFileName } from './place.ts';
import { ReservedSpace } from './reserved-space.ts';
import type { LogStatement } from './statements.ts';
import { owedTornEnd, setAside } from './torn-end.ts';

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
  /** The last head that is known to have been synced, or is said to have been: what is before it is no torn end. */
  readonly noted?: AuditHead | undefined;
  /** Told of each head that is known to be on disk. */
  readonly synced?: (head: AuditHead) => void;
  /** The end is taken as it is, and this is put on record first (`accept-place.ts`). */
  readonly accepting?: LogStatement;
}

export function auditLogPath(folder: string): string {
  return join(folder, auditFileName);
}

/**
 * @throws AuditError `locked`, `notPrivate`, `io`; `damaged`, with the place, when it was tampered with; and `notWritten` when
 * what a crash left cannot be set aside and put on record.
 */
export async function openAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const { folder, sync, log, clock = Date.now, reserveBytes = defaultBudgets.audit.reserveBytes } = options;
  const { noted, synced, accepting } = options;
  const path = auditLogPath(folder);
  const descriptor = openPrivately(folder, path);
  try {
    if (!tryLock(descriptor)) {
      throw new AuditError('locked', `another process writes the audit log \`${path}\`; is a daemon already running?`);
    }
    const end = readEnd({ descriptor, path, noted, isAccepting: accepting !== undefined });
    const tornEnd = settleEnd(descriptor, path, end);
    if (tornEnd !== undefined) log?.warn({ path, ...tornEnd }, 'what a crash left of a line was set aside');
    const { size: sizeBytes } = fstatSync(descriptor);
    const space = new ReservedSpace({ descriptor, path, reserveBytes, sizeBytes });
    const file = new AppendFile(descriptor);
    const { head, changes, accepted } = end;
    const appender = new ChainedAppender({
      ...{ file, path, space, sync, log, synced },
      end: { head, changes, sizeBytes },
      holds: (head) => holds({ descriptor, path }, head, accepted),
    });
    for (const statement of [tornEnd, accepting])
      if (statement !== undefined) await appender.append({ statement, eventAtMs: clock() }, 'synced');
    return appender;
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/**
 * Makes the file end with a whole line that is on disk.
 * @returns What has to go on record of what did not.
 */
function settleEnd(descriptor: number, path: string, end: LogEnd): LogStatement | undefined {
  const { head, offset, torn, needsLineFeed } = end;
  try {
    const tornEnd =
      torn === null ? owedTornEnd(path, offset, head) : setAside({ descriptor, path, offset, bytes: torn, head });
    if (needsLineFeed) writeSync(descriptor, '\n');
    fdatasyncSync(descriptor);
    return tornEnd;
  } catch (error) {
    const message = `cannot mend the end of the audit log \`${path}\`: ${(error as Error).message}; look at its disk`;
    throw new AuditError('notWritten', message, { cause: error });
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
    throw new AuditError('io', `cannot open the audit log \`${path}\`: ${fileProblem(error, 'write', 'this user')}`, {
      cause: error,
    });
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
