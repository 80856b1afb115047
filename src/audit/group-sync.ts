/**
 * Syncs of the audit log, each for all lines that wait for one when it begins: side by side with the writes, and soon after
 * lines that nobody waits for.
 *
 * After a failed sync nothing is taken any more. The kernel may have thrown away what it could not write and the next
 * sync would not say so; only opening the log again finds out what is there.
 */

import type { Logger } from '../kms/logger.ts';
import type { AppendFile } from './append-file.ts';
import { AuditError } from './audit-error.ts';
import type { AuditHead } from './audit-log.ts';

/** Whoever is told when a line is as durable as he asked. */
export interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: AuditError) => void;
}

export interface GroupSyncOptions {
  readonly file: AppendFile;
  /** For messages. */
  readonly path: string;
  readonly log: Logger | undefined;
  /** The last line that is in the file. */
  readonly head: () => AuditHead;
  /** After each sync; what was asked for its head when it began is on disk if it succeeded, else `null`. */
  readonly synced: (head: AuditHead | null) => void;
}

/** A sync begins so long after the first event that nobody waits for: well within the promised 100 ms. */
const backgroundSyncMs = 50;

export class GroupSync {
  readonly #options: GroupSyncOptions;
  #waiting: Waiting[] = [];
  #isSyncing = false;
  #hasUnsynced = false;
  #timer: NodeJS.Timeout | undefined;
  #failure: AuditError | undefined;

  constructor(options: GroupSyncOptions) {
    this.#options = options;
  }

  get isSyncing(): boolean {
    return this.#isSyncing;
  }

  /** Why nothing is taken any more. */
  get failure(): AuditError | undefined {
    return this.#failure;
  }

  /** Somebody waits for the sync of a line that is in the file; `wrote` follows. */
  wait(waiting: Waiting): void {
    this.#waiting.push(waiting);
  }

  /** There are lines in the file that are not synced yet. */
  wrote(): void {
    this.#hasUnsynced = true;
    this.#arrange();
  }

  /** Syncs what is left, once nothing is written any more and no sync is under way. */
  async finish(): Promise<void> {
    clearTimeout(this.#timer);
    if (!this.#hasUnsynced || this.#failure !== undefined) return;
    const { file, path, head, synced } = this.#options;
    const last = head();
    const cause = await new Promise<Error | null>((resolve) => file.sync(resolve));
    if (cause !== null) throw syncFailed(path, cause);
    synced(last);
  }

  #arrange(): void {
    if (this.#isSyncing) return;
    if (this.#waiting.length > 0) this.#sync();
    else this.#arrangeLater();
  }

  #arrangeLater(): void {
    if (!this.#hasUnsynced || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => this.#sync(), backgroundSyncMs);
    // The events are in the file: the process need not stay alive for this.
    this.#timer.unref();
  }

  #sync(): void {
    if (this.#isSyncing || this.#failure !== undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#hasUnsynced = false;
    this.#isSyncing = true;
    const head = this.#options.head();
    this.#options.file.sync((cause) => {
      this.#isSyncing = false;
      if (cause !== null) this.#fail(waiting, cause);
      else {
        for (const { resolve } of waiting) resolve();
        this.#arrange();
      }
      this.#options.synced(cause === null ? head : null);
    });
  }

  #fail(waiting: readonly Waiting[], cause: Error): void {
    const { path, log } = this.#options;
    const error = syncFailed(path, cause);
    this.#failure = error;
    log?.error({ path, err: cause }, error.message);
    for (const { reject } of [...waiting, ...this.#waiting]) reject(error);
    this.#waiting = [];
  }
}

function syncFailed(path: string, cause: Error): AuditError {
  const message = `cannot sync the audit log \`${path}\`: ${cause.message}; restart the daemon when the disk is well`;
  return new AuditError('notWritten', message, { cause });
}
