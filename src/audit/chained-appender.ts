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
 * it is chained to what does not exist. The bytes of a line that got there in part are cut off at once, or before the next
 * write: nobody was answered on the strength of them, and at a start they would be what a crash has left. The next event
 * tries again.
 *
 * An event whose line is in the file although its caller was told that it failed (the write's error came after it) stays
 * there: a log that says too much is better than one that says too little.
 */

import type { Logger } from '../kms/logger.ts';
import type { AppendFile } from './append-file.ts';
import { AuditError } from './audit-error.ts';
import {
  type AuditHead,
  type AuditLog,
  type ChangesOnRecord,
  type Durability,
  type LineAccount,
  ownAccount,
  type RecordableEvent,
} from './audit-log.ts';
import { type Link, writeChainedLine } from './chain.ts';
import { GroupSync, type Waiting } from './group-sync.ts';
import { type LineGroup, LineGroups } from './line-groups.ts';
import { QueueShares } from './queue-shares.ts';
import { renderRecord } from './record-line.ts';
import type { ReservedSpace } from './reserved-space.ts';

/** Where the file's end stands when it is opened: a whole line, on disk. */
export interface FileEnd {
  readonly head: Link;
  readonly sizeBytes: number;
  readonly changes: ChangesOnRecord;
}

export interface AppenderOptions {
  readonly file: AppendFile;
  /** For messages. */
  readonly path: string;
  readonly end: FileEnd;
  readonly space: ReservedSpace;
  readonly sync: 'default' | 'always';
  readonly log: Logger | undefined;
  /** As `AuditLog.holds`. */
  readonly holds: (noted: AuditHead) => boolean;
  /** Told of each head that is known to be on disk. */
  readonly synced: ((head: AuditHead) => void) | undefined;
}

interface Queued {
  /** How long it is in the file, which is what of the disk was promised to it. */
  readonly lineBytes: number;
  readonly account: LineAccount;
  /** The head when it is in the file. */
  readonly link: Link;
  readonly waiting: Waiting;
  readonly durability: Durability;
}

const everybody: LineAccount = { purpose: 'request' };

function fullDisk(path: string): string {
  return `the disk of the audit log \`${path}\` is full but for what is kept for changes that take permissions away; nothing else is taken before it has more room`;
}

export class ChainedAppender implements AuditLog {
  readonly #options: AppenderOptions;
  #head: Link;
  /** The last line that is in the file, and where it ends. */
  #written: AuditHead;
  #synced: AuditHead;
  /** How much of another line the file has behind that. */
  #fragmentBytes = 0;

  readonly #queue = new LineGroups<Queued>();
  readonly #shares = new QueueShares();
  #isWriting = false;
  #isScheduled = false;

  readonly #sync: GroupSync;

  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;
  #isFailing = false;

  constructor(options: AppenderOptions) {
    this.#options = options;
    const { head, sizeBytes } = options.end;
    this.#head = head;
    this.#written = { ...head, bytes: sizeBytes };
    this.#synced = this.#written;
    this.#sync = new GroupSync({
      ...options,
      head: () => this.#written,
      synced: (synced) => this.#noteSynced(synced),
    });
  }

  failure(): string | null {
    return this.#trouble() ?? (this.#options.space.isRoomyFor(everybody) ? null : "the audit log's disk is full");
  }

  obstacle(account: LineAccount): string | null {
    const { space, path } = this.#options;
    // What the daemon begins of its own accord is not owed yet.
    const from = account.purpose === 'owed' ? everybody : account;
    return this.#trouble() ?? (space.isRoomyFor(from) ? null : fullDisk(path));
  }

  #trouble(): string | null {
    if (this.#sync.failure !== undefined) return 'the audit log could not be synced; restart the daemon';
    return this.#isFailing ? 'the audit log cannot be written' : null;
  }

  head(): Link {
    return this.#head;
  }

  syncedHead(): AuditHead {
    return this.#synced;
  }

  changesAtOpening(): ChangesOnRecord {
    return this.#options.end.changes;
  }

  holds(noted: AuditHead): boolean {
    return this.#options.holds(noted);
  }

  append(event: RecordableEvent, durability: Durability, account = ownAccount): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    let text: string;
    try {
      text = renderRecord(event);
    } catch (error) {
      // Nothing is chained.
      return Promise.reject(error);
    }
    return this.#take(text, durability, account);
  }

  /**
   * In the order of the calls, but for lines that the disk has to be asked for room for first. The line is written where it goes to
   * the file from; if there is no room for it, the next one is written over it.
   */
  #take(text: string, durability: Durability, account: LineAccount): Promise<void> {
    const { path, space, sync } = this.#options;
    if (!this.#shares.admits(account, text.length)) {
      const message = `too many events wait to be written to \`${path}\`; look at its disk`;
      return Promise.reject(new AuditError('overloaded', message));
    }
    const group = this.#queue.groupFor(text);
    const { end, link } = writeChainedLine(text, this.#head, group.memory, group.usedBytes);
    const lineBytes = end - group.usedBytes;
    const room = space.take(account, lineBytes);
    if (room === 'none') return Promise.reject(new AuditError('full', fullDisk(path)));
    if (room === 'later') return this.#takeLater(text, durability, account);
    this.#head = link;
    this.#shares.add(account, lineBytes);
    this.#schedule();
    return new Promise((resolve, reject) => {
      const asked = sync === 'always' ? 'synced' : durability;
      this.#queue.add(group, { lineBytes, account, link, waiting: { resolve, reject }, durability: asked }, end);
    });
  }

  async #takeLater(text: string, durability: Durability, account: LineAccount): Promise<void> {
    this.#shares.add(account, text.length);
    await this.#options.space.extension();
    this.#shares.remove(account, text.length);
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
    await this.#take(text, durability, account);
  }

  close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    while (this.#isWriting || this.#isScheduled || this.#sync.isSyncing || !this.#queue.isEmpty) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    const { file, space } = this.#options;
    await space.extension();
    try {
      await this.#sync.finish();
    } finally {
      await file.close();
    }
  }

  #refusal(): AuditError | undefined {
    const { path } = this.#options;
    if (this.#closing !== undefined) return new AuditError('closed', `the audit log \`${path}\` is closed`);
    return this.#sync.failure;
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
    if (this.#queue.isEmpty) {
      this.#noteIdle();
      return;
    }
    if (this.#fragmentBytes > 0) {
      this.#cutFragment();
      return;
    }
    const group = this.#queue.take();
    if (group !== undefined) this.#write(group);
  }

  #write(group: LineGroup<Queued>): void {
    const { lines, memory, usedBytes } = group;
    for (const { account, lineBytes } of lines) this.#shares.remove(account, lineBytes);
    this.#isWriting = true;
    this.#options.file.append(memory.subarray(0, usedBytes), (writtenBytes, error) => {
      this.#isWriting = false;
      this.#queue.giveBack(group);
      this.#options.space.giveBack(usedBytes - writtenBytes);
      if (error === null) this.#acknowledge(lines);
      else this.#fail(lines, writtenBytes, error);
      // Cutting off what is too much goes on by itself.
      if (!this.#isWriting) this.#writeGroup();
    });
  }

  /** These lines are in the file. */
  #acknowledge(lines: readonly Queued[]): void {
    const last = lines.at(-1);
    if (last === undefined) return;
    let { bytes } = this.#written;
    for (const { lineBytes } of lines) bytes += lineBytes;
    const { sequence, hash } = last.link;
    this.#written = { sequence, hash, bytes };
    for (const { waiting, durability } of lines) {
      if (this.#sync.failure !== undefined) waiting.reject(this.#sync.failure);
      else if (durability === 'synced') this.#sync.wait(waiting);
      else waiting.resolve();
    }
    if (this.#isFailing) {
      this.#isFailing = false;
      this.#options.log?.info({ path: this.#options.path }, 'the audit log can be written again');
    }
    this.#sync.wrote();
  }

  /** Some of the group's bytes are in the file, the others never will be. */
  #fail(group: readonly Queued[], writtenBytes: number, cause: Error): void {
    let start = 0;
    let complete = 0;
    for (const { lineBytes } of group) {
      const end = start + lineBytes;
      if (end > writtenBytes) break;
      start = end;
      complete++;
    }
    this.#acknowledge(group.slice(0, complete));
    this.#rejectWith(cause, group.slice(complete));
    this.#fragmentBytes = writtenBytes - start;
    if (this.#fragmentBytes > 0) this.#cutFragment();
  }

  /** These, which are in no queue any more, and all that wait. */
  #rejectWith(cause: Error, lines: readonly Queued[]): void {
    const error = this.#writeFailed(cause);
    if (!this.#isFailing) this.#options.log?.error({ path: this.#options.path, err: cause }, error.message);
    this.#isFailing = true;
    const waiting = this.#queue.drain();
    for (const { account, lineBytes } of waiting) {
      this.#options.space.giveBack(lineBytes);
      this.#shares.remove(account, lineBytes);
    }
    const { sequence, hash } = this.#written;
    this.#head = { sequence, hash };
    for (const line of [...lines, ...waiting]) line.waiting.reject(error);
  }

  /** Nothing is written before the file ends with a whole line. */
  #cutFragment(): void {
    const { file, space } = this.#options;
    const { bytes } = this.#written;
    this.#isWriting = true;
    file.cutTo(bytes, (cause) => {
      this.#isWriting = false;
      if (cause !== null) this.#rejectWith(cause, []);
      else {
        space.cutOff(bytes, this.#fragmentBytes);
        this.#fragmentBytes = 0;
      }
      this.#writeGroup();
    });
  }

  #noteSynced(head: AuditHead | null): void {
    if (head !== null) {
      this.#synced = head;
      this.#options.synced?.(head);
    }
    this.#noteIdle();
  }

  #noteIdle(): void {
    const onIdle = this.#onIdle;
    this.#onIdle = undefined;
    onIdle?.();
  }

  #writeFailed(cause: Error): AuditError {
    const message = `cannot write the audit log \`${this.#options.path}\`: ${cause.message}; no answer leaves until it works again`;
    return new AuditError('notWritten', message, { cause });
  }
}
