/**
 * The room on the disk that the audit log has for certain, and who may use the last of it.
 *
 * The log owns blocks behind its end (`secrets/file-allocation.ts`): some for what comes next, and behind these a reserve. As
 * long as the disk has room, what is used up is replaced ahead of time. When it has none, whoever filled it, nobody can take
 * the reserve, and it is given out by purpose:
 *
 *   - ordinary lines end where the reserve begins;
 *   - changes that take permissions away, and what operators look at, may have its first half;
 *   - changes of operators, and what is owed to the record, may have all of it.
 *
 * So permissions can be revoked on a disk that is full for everybody else, and nobody but operators can use up the last half.
 *
 * Where the file system cannot reserve (NFS, ZFS), the free room that it tells of is taken for it: the same rules, with the
 * weakness that others can fill the disk between the look and the write.
 */

import { statfsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { allocate, allocateNow } from '../secrets/file-allocation.ts';
import type { LineAccount } from './audit-log.ts';
import { maxLineBytes } from './event-line.ts';

/** Kept ahead for ordinary lines, some thousand of them, so that a disk is asked now and then and not for each. */
const maxAheadBytes = 4 * 1024 * 1024;
/** Of a small disk, reserve and what is ahead are these parts at most. */
const smallDiskParts = 16;
/** How often a disk that has no more is asked again. */
const retryMs = 1_000;

export interface SpaceOptions {
  /** Of the log, opened for writing. Not closed before `extension()` resolves. */
  readonly descriptor: number;
  readonly path: string;
  /** How much is kept, at most a sixteenth of the disk. */
  readonly reserveBytes: number;
  /** Of the file. */
  readonly sizeBytes: number;
}

export class ReservedSpace {
  readonly #descriptor: number;
  readonly #path: string;
  readonly #reserveBytes: number;
  readonly #aheadBytes: number;
  readonly #canAllocate: boolean;
  /** Where the file's lines end once all that were promised are written. */
  #end: number;
  /** Up to where the file owns its blocks. */
  #allocatedTo: number;
  #extension: Promise<void> | undefined;
  /** When the disk last gave less than it was asked for. */
  #refusedAtMs = Number.NEGATIVE_INFINITY;

  /** Asks the disk once, and waits for it. */
  constructor({ descriptor, path, reserveBytes, sizeBytes }: SpaceOptions) {
    this.#descriptor = descriptor;
    this.#path = path;
    this.#end = sizeBytes;
    this.#allocatedTo = sizeBytes;
    const { blocks, bavail, bsize } = statfsSync(path);
    // A file system that does not say how large it is has no small disk under it.
    const part = blocks === 0 ? Number.POSITIVE_INFINITY : Math.floor((blocks * bsize) / smallDiskParts);
    this.#reserveBytes = Math.min(reserveBytes, part);
    this.#aheadBytes = Math.min(maxAheadBytes, part);
    let result: ReturnType<typeof allocateNow> = 'refused';
    for (const bytes of this.#sizes(bavail * bsize)) {
      result = allocateNow(descriptor, sizeBytes + bytes);
      if (result === 'done') this.#allocatedTo = sizeBytes + bytes;
      if (result !== 'refused') break;
    }
    this.#canAllocate = result !== 'unsupported';
    if (!this.#canAllocate) this.#believe(bavail * bsize);
    this.#noteRefusal();
  }

  /**
   * Promises room for so many bytes, if this account may have it.
   * @returns `later` while the disk is being asked: `extension()` resolves when it has answered.
   */
  take(account: LineAccount, bytes: number): 'taken' | 'later' | 'none' {
    // What is owed is tried even where nothing is left: the disk may still have what was not reserved.
    if (account.purpose === 'owed' || this.#hasRoomFor(account, bytes)) {
      this.#end += bytes;
      if (this.#room() < this.#reserveBytes + this.#aheadBytes / 2) this.#extend();
      return 'taken';
    }
    return this.#extension === undefined ? 'none' : 'later';
  }

  /** Whether there is room for a line before what it tells of and for a line after it, as long as they may be. */
  isRoomyFor(account: LineAccount): boolean {
    return this.#hasRoomFor(account, Math.min(2 * maxLineBytes, this.#aheadBytes / 4));
  }

  #hasRoomFor(account: LineAccount, bytes: number): boolean {
    if (this.#room() >= bytes + this.#keptFrom(account)) return true;
    this.#extend();
    return false;
  }

  /** Resolves when the disk has answered what it is being asked, if it is. */
  extension(): Promise<void> {
    return this.#extension ?? Promise.resolve();
  }

  /** These bytes were promised and are not in the file. */
  giveBack(bytes: number): void {
    this.#end -= bytes;
  }

  /** So many written bytes were cut off the file, which owns nothing behind its end any more. The disk is asked anew. */
  cutOff(sizeBytes: number, cutBytes: number): void {
    this.#end -= cutBytes;
    this.#allocatedTo = sizeBytes;
    this.#refusedAtMs = Number.NEGATIVE_INFINITY;
    this.#extend();
  }

  #room(): number {
    return this.#allocatedTo - this.#end;
  }

  /** How much this account has to leave. */
  #keptFrom({ isOperator = false, purpose }: LineAccount): number {
    switch (purpose) {
      case 'owed':
        return 0;
      case 'change':
        return isOperator ? 0 : this.#reserveBytes;
      case 'revocation':
        return isOperator ? 0 : this.#reserveBytes / 2;
      case 'look':
        return isOperator ? this.#reserveBytes / 2 : this.#reserveBytes;
      case 'request':
        return this.#reserveBytes;
      default:
        return purpose satisfies never;
    }
  }

  #extend(): void {
    if (this.#extension !== undefined || performance.now() - this.#refusedAtMs < retryMs) return;
    this.#extension = this.#allocateMore().then(() => {
      this.#extension = undefined;
      this.#noteRefusal();
    });
  }

  async #allocateMore(): Promise<void> {
    const { bavail, bsize } = await statfs(this.#path);
    if (!this.#canAllocate) {
      this.#believe(bavail * bsize);
      return;
    }
    for (const bytes of this.#sizes(bavail * bsize + this.#room())) {
      const to = this.#end + bytes;
      if (to <= this.#allocatedTo) return;
      if ((await allocate(this.#descriptor, to)) === 'done') {
        this.#allocatedTo = to;
        return;
      }
    }
  }

  /**
   * What is asked for, in bytes behind the end: all that is wanted, then less. What is ahead of the reserve leaves as much free
   * as the reserve has: the metadata may be on the same disk, and a change that finds its place in the log has to find it there.
   */
  *#sizes(freeBytes: number): Generator<number> {
    const [reserve, ahead] = [this.#reserveBytes, this.#aheadBytes];
    for (const bytes of [ahead, ahead / 4]) if (freeBytes >= 2 * reserve + bytes) yield Math.floor(reserve + bytes);
    for (const part of [1, 2, 4, 8, 16]) yield Math.floor(reserve / part);
  }

  #believe(freeBytes: number): void {
    this.#allocatedTo = this.#end + Math.min(freeBytes, this.#reserveBytes + this.#aheadBytes);
  }

  #noteRefusal(): void {
    if (this.#room() < this.#reserveBytes + this.#aheadBytes / 2) this.#refusedAtMs = performance.now();
  }
}
