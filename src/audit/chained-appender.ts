/**
 * Takes events in the order of the calls, chains them at once, and gets them to the disk in groups.
 *
 * Chaining is synchronous: the order of `append` is the order of the log. Writing is not: while one group is being
 * written, the next one collects, and goes out as one write; syncs work the same way, side by side with the writes. So
 * the cost of a write or a sync is shared by all that wait for it, and a lone event waits for nobody.
 *
 * INVARIANT: an event is acknowledged only when its whole line is in the file (`written`), or when a sync that began
 * after that has succeeded (`synced`). INVARIANT: `#head` is the last line that is in the file or queued for it. When a
 * write fails, it goes back to the last line that got there completely; everything behind that line is rejected, because
 * it is chained to what does not exist. The next event tries again. The bytes of a line that got there in part stay, as
 * evidence, and the next write begins with the record that accounts for them.
 *
 * An event whose line is in the file although its caller was told that it failed (the write's error came after it) stays
 * there: a log that says too much is better than one that says too little.
 *
 * After a failed sync nothing is taken any more. The kernel may have thrown away what it could not write and the next
 * sync would not say so; only opening the log again finds out what is there.
 */

import { createHash, type Hash } from 'node:crypto';
import type { Logger } from '../kms/logger.ts';
import type { AppendFile } from './append-file.ts';
import { AuditError } from './audit-error.ts';
import type { AuditEvent, AuditLog, Durability, ServiceEvent } from './audit-log.ts';
import { chainLine, type Link } from './chain.ts';
import { renderEvent, renderServiceEvent, renderTornLine } from './event-line.ts';
import { findLackOfSpace } from './free-space.ts';

/** Where the file's end stands when it is opened. */
export interface FileEnd {
  readonly head: Link;
  /** Bytes behind the last record that are not accounted for. */
  readonly torn: { readonly bytes: number; readonly hash: Hash } | null;
  /** Whether the next line begins with a line feed, because the file does not end with one. */
  readonly needsLineFeed: boolean;
}

export interface AppenderOptions {
  readonly file: AppendFile;
  /** For messages. */
  readonly path: string;
  readonly end: FileEnd;
  readonly sync: 'default' | 'always';
  readonly log: Logger | undefined;
  readonly clock: () => number;
}

/** A group is at most this long, so that a sync or a failure concerns a bounded part of the log. */
const maxGroupCharacters = 1024 * 1024;
/** What may wait for the disk: some 8,000 ordinary events. More means that the disk is stuck, and callers hear of it. */
const maxQueuedCharacters = 8 * 1024 * 1024;
/** A sync begins so long after the first event that nobody waits for: well within the promised 100 ms. */
const backgroundSyncMs = 50;

interface Queued {
  readonly text: string;
  /** The head when this text is in the file. */
  readonly link: Link;
  /** `null` for what the log writes on its own account. */
  readonly waiting: { readonly resolve: () => void; readonly reject: (error: AuditError) => void } | null;
  readonly durability: Durability;
  /** Accounts for the torn line before it. */
  readonly isRepair: boolean;
}

type Waiting = NonNullable<Queued['waiting']>;

export class ChainedAppender implements AuditLog {
  readonly #options: AppenderOptions;
  #head: Link;
  /** The last line that is in the file. */
  #writtenHead: Link;
  #torn: { bytes: number; readonly hash: Hash } | null;
  #needsLineFeed: boolean;
  #isRepairQueued = false;

  #queue: Queued[] = [];
  #queuedCharacters = 0;
  #isWriting = false;
  #isScheduled = false;

  #waitingForSync: Waiting[] = [];
  #isSyncing = false;
  #hasUnsynced = false;
  #syncTimer: NodeJS.Timeout | undefined;
  #syncFailure: Error | undefined;

  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;
  #isFailing = false;

  constructor(options: AppenderOptions) {
    this.#options = options;
    this.#head = options.end.head;
    this.#writtenHead = options.end.head;
    this.#torn = options.end.torn;
    this.#needsLineFeed = options.end.needsLineFeed;
  }

  failure(): string | null {
    if (this.#syncFailure !== undefined) return 'the audit log could not be synced; restart the daemon';
    return this.#isFailing ? 'the audit log cannot be written' : null;
  }

  async obstacle(): Promise<string | null> {
    return this.failure() ?? findLackOfSpace(this.#options.path);
  }

  head(): Link {
    return this.#head;
  }

  append(event: AuditEvent | ServiceEvent, durability: Durability): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      // Whatever `renderEvent` throws rejects the promise, with nothing chained.
      const text = 'serviceEventDetails' in event ? renderServiceEvent(event) : renderEvent(event);
      this.#queueRepair();
      this.#queueLine(text, { resolve, reject }, this.#options.sync === 'always' ? 'synced' : durability, false);
      this.#schedule();
    });
  }

  /** Accounts for what the file ends with, if for anything; for the moment after opening. */
  async repair(): Promise<void> {
    if (this.#torn === null && !this.#needsLineFeed) return;
    await new Promise<void>((resolve, reject) => {
      this.#queueRepair({ resolve, reject });
      this.#schedule();
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    while (this.#isWriting || this.#isScheduled || this.#isSyncing || this.#queue.length > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    clearTimeout(this.#syncTimer);
    const { file } = this.#options;
    const error = await new Promise<Error | null>((resolve) => {
      if (this.#hasUnsynced && this.#syncFailure === undefined) file.sync(resolve);
      else resolve(null);
    });
    await file.close();
    if (error !== null) throw this.#failure('sync', error);
  }

  #refusal(): AuditError | undefined {
    const { path } = this.#options;
    if (this.#closing !== undefined) return new AuditError('closed', `the audit log \`${path}\` is closed`);
    if (this.#syncFailure !== undefined) return this.#failure('sync', this.#syncFailure);
    if (this.#queuedCharacters < maxQueuedCharacters) return undefined;
    return new AuditError('overloaded', `too many events wait to be written to \`${path}\`; look at its disk`);
  }

  #queueRepair(waiting: Waiting | null = null): void {
    if (this.#isRepairQueued) return;
    if (this.#torn !== null) {
      const { bytes, hash } = this.#torn;
      const torn = { bytes, sha256: hash.copy().digest('hex') };
      const { clock, path, log } = this.#options;
      log?.warn({ path, ...torn }, 'the audit log ends with an incomplete line; it is kept and accounted for');
      this.#queueLine(renderTornLine(torn, clock()), waiting, 'synced', true);
    } else if (this.#needsLineFeed) {
      this.#push({ text: '\n', link: this.#head, waiting, durability: 'synced', isRepair: true });
    } else return;
    this.#isRepairQueued = true;
  }

  #queueLine(event: string, waiting: Waiting | null, durability: Durability, isRepair: boolean): void {
    const { line, link } = chainLine(event, this.#head);
    this.#head = link;
    const lead = isRepair && this.#needsLineFeed ? '\n' : '';
    this.#push({ text: `${lead}${line}\n`, link, waiting, durability, isRepair });
  }

  #push(queued: Queued): void {
    this.#queue.push(queued);
    this.#queuedCharacters += queued.text.length;
  }

  /** Writes after the events that arrive in the same turn of the event loop have joined. */
  #schedule(): void {
    if (this.#isWriting || this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#writeGroup();
    });
  }

  #writeGroup(): void {
    if (this.#queue.length === 0) {
      this.#noteIdle();
      return;
    }
    const group = this.#takeGroup();
    this.#isWriting = true;
    const bytes = Buffer.from(group.map((queued) => queued.text).join(''), 'utf8');
    this.#options.file.append(bytes, (writtenBytes, error) => {
      this.#isWriting = false;
      if (error === null) this.#acknowledge(group);
      else this.#fail(group, bytes, writtenBytes, error);
      this.#writeGroup();
    });
  }

  #takeGroup(): readonly Queued[] {
    let characters = 0;
    let count = 0;
    for (const { text } of this.#queue) {
      characters += text.length;
      if (count++ > 0 && characters > maxGroupCharacters) break;
    }
    const group = characters <= maxGroupCharacters ? this.#queue : this.#queue.slice(0, Math.max(1, count - 1));
    this.#queue = this.#queue.slice(group.length);
    for (const { text } of group) this.#queuedCharacters -= text.length;
    return group;
  }

  /** These lines are in the file. */
  #acknowledge(lines: readonly Queued[]): void {
    for (const { link, waiting, durability, isRepair } of lines) {
      this.#writtenHead = link;
      if (isRepair) this.#endRepair();
      if (waiting === null) continue;
      if (this.#syncFailure !== undefined) waiting.reject(this.#failure('sync', this.#syncFailure));
      else if (durability === 'synced') this.#waitingForSync.push(waiting);
      else waiting.resolve();
    }
    if (lines.length === 0) return;
    this.#hasUnsynced = true;
    if (this.#isFailing) {
      this.#isFailing = false;
      this.#options.log?.info({ path: this.#options.path }, 'the audit log can be written again');
    }
    this.#arrangeSync();
  }

  #endRepair(): void {
    this.#isRepairQueued = false;
    this.#torn = null;
    this.#needsLineFeed = false;
  }

  /** Some of the group's bytes are in the file, the others never will be. */
  #fail(group: readonly Queued[], bytes: Buffer, writtenBytes: number, cause: Error): void {
    let start = 0;
    let complete = 0;
    for (const { text } of group) {
      const end = start + Buffer.byteLength(text);
      if (end > writtenBytes) break;
      start = end;
      complete++;
    }
    const lost = group[complete];
    const fragment = bytes.subarray(start, writtenBytes);
    const isWhole = lost !== undefined && fragment.length > 1 && fragment.length === Buffer.byteLength(lost.text) - 1;
    this.#acknowledge(group.slice(0, isWhole ? complete + 1 : complete));
    if (isWhole) this.#needsLineFeed = true;
    else if (fragment.length > 0) this.#addTorn(fragment);

    const error = this.#failure('write', cause);
    if (!this.#isFailing) this.#options.log?.error({ path: this.#options.path, err: cause }, error.message);
    this.#isFailing = true;
    const rejected = [...group.slice(isWhole ? complete + 1 : complete), ...this.#queue];
    this.#queue = [];
    this.#queuedCharacters = 0;
    this.#isRepairQueued = false;
    this.#head = this.#writtenHead;
    for (const { waiting } of rejected) waiting?.reject(error);
  }

  #addTorn(fragment: Buffer): void {
    this.#torn ??= { bytes: 0, hash: createHash('sha256') };
    this.#torn.bytes += fragment.length;
    this.#torn.hash.update(fragment);
    this.#needsLineFeed = true;
  }

  #arrangeSync(): void {
    if (this.#isSyncing) return;
    if (this.#waitingForSync.length > 0) this.#sync();
    else this.#arrangeBackgroundSync();
  }

  #arrangeBackgroundSync(): void {
    if (!this.#hasUnsynced || this.#syncTimer !== undefined) return;
    this.#syncTimer = setTimeout(() => this.#sync(), backgroundSyncMs);
    // The events are in the file: the process need not stay alive for this.
    this.#syncTimer.unref();
  }

  #sync(): void {
    if (this.#isSyncing || this.#syncFailure !== undefined) return;
    clearTimeout(this.#syncTimer);
    this.#syncTimer = undefined;
    const waiting = this.#waitingForSync;
    this.#waitingForSync = [];
    this.#hasUnsynced = false;
    this.#isSyncing = true;
    this.#options.file.sync((cause) => {
      this.#isSyncing = false;
      if (cause !== null) {
        this.#syncFailure = cause;
        const error = this.#failure('sync', cause);
        this.#options.log?.error({ path: this.#options.path, err: cause }, error.message);
        for (const { reject } of [...waiting, ...this.#waitingForSync]) reject(error);
        this.#waitingForSync = [];
      } else {
        for (const { resolve } of waiting) resolve();
        this.#arrangeSync();
      }
      this.#noteIdle();
    });
  }

  #noteIdle(): void {
    const onIdle = this.#onIdle;
    this.#onIdle = undefined;
    onIdle?.();
  }

  #failure(doing: 'write' | 'sync', cause: Error): AuditError {
    const advice =
      doing === 'sync' ? 'restart the daemon when the disk is well' : 'no answer leaves until it works again';
    return new AuditError(
      'notWritten',
      `cannot ${doing} the audit log \`${this.#options.path}\`: ${cause.message}; ${advice}`,
      {
        cause,
      },
    );
  }
}
