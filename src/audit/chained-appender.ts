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
 */

import { createHash, type Hash } from 'node:crypto';
import type { Logger } from '../kms/logger.ts';
import type { AppendFile } from './append-file.ts';
import { AuditError } from './audit-error.ts';
import {
  type AuditLog,
  type Durability,
  type IntentsOnRecord,
  type LineAccount,
  ownAccount,
  type RecordableEvent,
} from './audit-log.ts';
import { chainLine, type Link } from './chain.ts';
import { renderTornLine } from './event-line.ts';
import { GroupSync, type Waiting } from './group-sync.ts';
import { QueueShares } from './queue-shares.ts';
import { renderRecord } from './record-line.ts';
import type { ReservedSpace } from './reserved-space.ts';

/** Where the file's end stands when it is opened. */
export interface FileEnd {
  readonly head: Link;
  /** Bytes behind the last record that are not accounted for. */
  readonly torn: { readonly bytes: number; readonly hash: Hash } | null;
  /** Whether the next line begins with a line feed, because the file does not end with one. */
  readonly needsLineFeed: boolean;
  readonly intents: IntentsOnRecord;
}

export interface AppenderOptions {
  readonly file: AppendFile;
  /** For messages. */
  readonly path: string;
  readonly end: FileEnd;
  readonly space: ReservedSpace;
  readonly sync: 'default' | 'always';
  readonly log: Logger | undefined;
  readonly clock: () => number;
}

/** A group is at most this long, so that a sync or a failure concerns a bounded part of the log. */
const maxGroupCharacters = 1024 * 1024;

interface Queued {
  readonly text: string;
  /** What of the disk was promised to it. */
  readonly bytes: number;
  readonly account: LineAccount;
  /** The head when this text is in the file. */
  readonly link: Link;
  /** `null` for what the log writes on its own account. */
  readonly waiting: Waiting | null;
  readonly durability: Durability;
  /** Accounts for the torn line before it. */
  readonly isRepair: boolean;
}

/** What the log writes on its own account; the disk is not asked for it. */
const ownLine = { account: ownAccount, bytes: 0, durability: 'synced' } as const;
/** What the chain adds to a line, and its line feed. */
const maxLinkBytes = 256;
const everybody: LineAccount = { purpose: 'request' };

function fullDisk(path: string): string {
  return `the disk of the audit log \`${path}\` is full but for what is kept for changes that take permissions away; nothing else is taken before it has more room`;
}

export class ChainedAppender implements AuditLog {
  readonly #options: AppenderOptions;
  #head: Link;
  /** The last line that is in the file. */
  #writtenHead: Link;
  #torn: { bytes: number; readonly hash: Hash } | null;
  #needsLineFeed: boolean;
  #isRepairQueued = false;

  #queue: Queued[] = [];
  readonly #shares = new QueueShares();
  #isWriting = false;
  #isScheduled = false;

  readonly #sync: GroupSync;

  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;
  #isFailing = false;

  constructor(options: AppenderOptions) {
    this.#options = options;
    this.#head = options.end.head;
    this.#writtenHead = options.end.head;
    this.#torn = options.end.torn;
    this.#needsLineFeed = options.end.needsLineFeed;
    this.#sync = new GroupSync({ ...options, synced: () => this.#noteIdle() });
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

  intentsAtOpening(): IntentsOnRecord {
    return this.#options.end.intents;
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

  /** In the order of the calls, but for lines that the disk has to be asked for room for first. */
  #take(text: string, durability: Durability, account: LineAccount): Promise<void> {
    const { path, space, sync } = this.#options;
    if (!this.#shares.admits(account, text.length)) {
      const message = `too many events wait to be written to \`${path}\`; look at its disk`;
      return Promise.reject(new AuditError('overloaded', message));
    }
    const bytes = Buffer.byteLength(text) + maxLinkBytes;
    const room = space.take(account, bytes);
    if (room === 'none') return Promise.reject(new AuditError('full', fullDisk(path)));
    if (room === 'later') return this.#takeLater(text, durability, account);
    return new Promise((resolve, reject) => {
      this.#queueRepair();
      const queued = {
        account,
        bytes,
        durability: sync === 'always' ? 'synced' : durability,
        isRepair: false,
      } as const;
      this.#queueLine(text, { ...queued, waiting: { resolve, reject } });
      this.#schedule();
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
    while (this.#isWriting || this.#isScheduled || this.#sync.isSyncing || this.#queue.length > 0) {
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

  #queueRepair(waiting: Waiting | null = null): void {
    if (this.#isRepairQueued) return;
    if (this.#torn !== null) {
      const { bytes, hash } = this.#torn;
      const torn = { bytes, sha256: hash.copy().digest('hex') };
      const { clock, path, log } = this.#options;
      log?.warn({ path, ...torn }, 'the audit log ends with an incomplete line; it is kept and accounted for');
      this.#queueLine(renderTornLine(torn, clock()), { ...ownLine, waiting, isRepair: true });
    } else if (this.#needsLineFeed) {
      this.#push({ ...ownLine, text: '\n', link: this.#head, waiting, isRepair: true });
    } else return;
    this.#isRepairQueued = true;
  }

  #queueLine(event: string, traits: Omit<Queued, 'text' | 'link'>): void {
    const { line, link } = chainLine(event, this.#head);
    this.#head = link;
    const lead = traits.isRepair && this.#needsLineFeed ? '\n' : '';
    this.#push({ ...traits, text: `${lead}${line}\n`, link });
  }

  #push(queued: Queued): void {
    this.#queue.push(queued);
    this.#shares.add(queued.account, queued.text.length);
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
    let promisedBytes = 0;
    for (const queued of group) promisedBytes += queued.bytes;
    this.#options.file.append(bytes, (writtenBytes, error) => {
      this.#isWriting = false;
      this.#options.space.giveBack(promisedBytes - writtenBytes);
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
    for (const { account, text } of group) this.#shares.remove(account, text.length);
    return group;
  }

  /** These lines are in the file. */
  #acknowledge(lines: readonly Queued[]): void {
    for (const { link, waiting, durability, isRepair } of lines) {
      this.#writtenHead = link;
      if (isRepair) this.#endRepair();
      if (waiting === null) continue;
      if (this.#sync.failure !== undefined) waiting.reject(this.#sync.failure);
      else if (durability === 'synced') this.#sync.wait(waiting);
      else waiting.resolve();
    }
    if (lines.length === 0) return;
    if (this.#isFailing) {
      this.#isFailing = false;
      this.#options.log?.info({ path: this.#options.path }, 'the audit log can be written again');
    }
    this.#sync.wrote();
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

    const error = this.#writeFailed(cause);
    if (!this.#isFailing) this.#options.log?.error({ path: this.#options.path, err: cause }, error.message);
    this.#isFailing = true;
    const rejected = [...group.slice(isWhole ? complete + 1 : complete), ...this.#queue];
    for (const { account, bytes, text } of this.#queue) {
      this.#options.space.giveBack(bytes);
      this.#shares.remove(account, text.length);
    }
    this.#queue = [];
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
