/**
 * The write-ahead log, and its way into the database's file: what is copied there is cleared of remains (`page-remains.ts`).
 *
 * INVARIANT: no page comes into the file but by `checkpoint`, which clears it; SQLite has no checkpoints of its own here, but when the database is
 * closed, before which there is one (`scrubbing.ts`). So, once the file
 * was cleared as a whole (`scrubbing.ts`), what has to be looked at is what was written since the last checkpoint, and never
 * the whole file.
 *
 * Remains are overwritten in the file, past SQLite, which neither reads these bytes nor relies on them. The log still has the page while that
 * is done: a machine that fails in the middle finds it there, and writes it once more. SQLite's own copies of pages in memory have the
 * remains until they are dropped, which is done in the same turn: otherwise the next write of such a page would bring them back.
 *
 * Source: SQLite, "Write-Ahead Logging"; "Database File Format", 4 (The Write-Ahead Log); "PRAGMA wal_checkpoint", "PRAGMA shrink_memory".
 */

import { closeSync, constants, fdatasyncSync, openSync, readSync, statSync } from 'node:fs';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { StoreError } from './store-error.ts';
import { clearPage, overwriteRemains } from './swept-file.ts';

/** As many pages in the log as SQLite would have by itself: some 4 MB. */
const maxFrames = 1000;
const logHeaderBytes = 32;
const frameHeaderBytes = 24;
/** Read at a time. */
const framesAtOnce = 256;

export class WriteAheadLog {
  readonly #database: DatabaseSync;
  readonly #path: string;
  readonly #progress: StatementSync;
  readonly #complete: StatementSync;
  readonly #truncate: StatementSync;
  #file: number | undefined;
  #mayRemainInMemory = false;
  #pagesRead = 0;

  /** @param path Of the database. */
  constructor(database: DatabaseSync, path: string) {
    this.#database = database;
    this.#path = path;
    database.exec('PRAGMA wal_autocheckpoint = 0');
    // It only tells.
    this.#progress = database.prepare('PRAGMA wal_checkpoint(NOOP)');
    this.#complete = database.prepare('PRAGMA wal_checkpoint(PASSIVE)');
    this.#truncate = database.prepare('PRAGMA wal_checkpoint(TRUNCATE)');
  }

  /** Pages that checkpoints have looked at so far. */
  get pagesRead(): number {
    return this.#pagesRead;
  }

  /** The database's file, for reading and for what is overwritten in it. To close any descriptor of it would end the locks on it. */
  get file(): number {
    this.#file ??= openSync(this.#path, constants.O_RDWR);
    return this.#file;
  }

  /** Something was written. @throws what `checkpoint` throws; what was written stays. */
  follow(): void {
    if (Number(this.#progress.get()?.['log']) >= maxFrames) this.checkpoint();
  }

  /** Has all that it has in the file, cleared. @throws StoreError when that cannot be done now. */
  checkpoint(): void {
    const frames = this.#run(this.#complete);
    if (frames > 0) this.#clear(frames);
    if (!this.#mayRemainInMemory) return;
    this.#database.exec('PRAGMA shrink_memory');
    this.#mayRemainInMemory = false;
  }

  /** As `checkpoint`, and it has nothing any more. */
  empty(): void {
    this.checkpoint();
    this.#run(this.#truncate);
    if (statSync(`${this.#path}-wal`).size > 0) throw this.#notNow();
  }

  /** Overwrites what remains in a page of the file. */
  clearPage(page: number, pageBytes: number): void {
    if (clearPage(this.file, page, pageBytes)) this.#mayRemainInMemory = true;
  }

  /** When the database is closed. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  /** @returns How many pages are in the log, all of which are in the file. */
  #run(checkpoint: StatementSync): number {
    const { busy, log, checkpointed } = checkpoint.get() ?? {};
    if (Number(busy) !== 0 || Number(checkpointed) !== Number(log)) throw this.#notNow();
    return Number(log);
  }

  /** What the log has of a page last is what the file has now. */
  #clear(frames: number): void {
    const log = openSync(`${this.#path}-wal`, constants.O_RDONLY);
    try {
      const header = Buffer.alloc(logHeaderBytes);
      this.#fill(log, header, 0);
      const pageBytes = header.readUInt32BE(8);
      const frameBytes = frameHeaderBytes + pageBytes;
      const lastOf = new Map<number, Buffer>();
      for (let first = 0; first < frames; first += framesAtOnce) {
        const some = Buffer.alloc(Math.min(framesAtOnce, frames - first) * frameBytes);
        this.#fill(log, some, logHeaderBytes + first * frameBytes);
        for (let at = 0; at < some.length; at += frameBytes)
          lastOf.set(some.readUInt32BE(at), some.subarray(at + frameHeaderBytes, at + frameBytes));
      }
      this.#pagesRead += lastOf.size;
      const cleared = [...lastOf].filter(([page, bytes]) => page > 1 && overwriteRemains(this.file, page, bytes));
      if (cleared.length === 0) return;
      this.#mayRemainInMemory = true;
      fdatasyncSync(this.file);
    } finally {
      closeSync(log);
    }
  }

  #fill(file: number, bytes: Buffer, at: number): void {
    if (readSync(file, bytes, 0, bytes.length, at) !== bytes.length) throw this.#notNow();
  }

  #notNow(): StoreError {
    return new StoreError('io', `the log of \`${this.#path}\` cannot be emptied now`);
  }
}
