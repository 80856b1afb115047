/**
 * What was removed is gone from the file, and that costs as much as was written since the last time, however large the file is.
 *
 * `secure_delete` (`sqlite-database.ts`) overwrites what a page gives up, and the write-ahead log is copied into the file and cut to
 * nothing. What would remain are copies that SQLite makes when it moves rows from a page to another one, and leaves where they were
 * (`page-remains.ts`). They are overwritten in every page that comes into the file (`write-ahead-log.ts`), and once after the start in the
 * whole of it, since a former version, or a crash, may have left some: a part at a time, read beside the event loop, while others write.
 *
 * To write the whole file anew (`VACUUM`) does the same, and keeps everybody waiting for seconds with some hundred thousand keys; and
 * it has a copy of everything in a temporary file of another folder.
 *
 * The file is read through one descriptor that stays open for as long as the database does: closing any would end the locks on it.
 * Blocks of a disk, its journal, snapshots and backups are beyond this.
 *
 * Source: SQLite, "PRAGMA secure_delete", "PRAGMA wal_checkpoint", "VACUUM".
 */

import type { DatabaseSync } from 'node:sqlite';
import { asStoreError, StoreError } from './store-error.ts';
import { sweepFile } from './swept-file.ts';
import { WriteAheadLog } from './write-ahead-log.ts';

export class Scrubbing {
  readonly #log: WriteAheadLog;
  readonly #path: string;
  /** Nothing remains in the file that was there at the start. */
  #isSwept = false;
  #sweeping: Promise<void> | undefined;
  #hasMissedPages = false;
  #emptying: Promise<void> | undefined;
  #isClosing = false;
  #pagesRead = 0;

  constructor(database: DatabaseSync, path: string) {
    this.#log = new WriteAheadLog(database, path);
    this.#path = path;
  }

  /** Pages that were looked at so far, in the file and in its log. */
  get pagesRead(): number {
    return this.#pagesRead + this.#log.pagesRead;
  }

  /** After each transaction, which stays whatever becomes of this. */
  follow(): void {
    try {
      this.#log.follow();
    } catch {
      // A disk that takes nothing more: the log goes on to grow.
      this.#missPages();
    }
  }

  /**
   * When it is done, nothing that was removed before is in the file or in its log.
   * @param inTurn Has something done later, while nobody else writes.
   * @throws StoreError when the disk refuses.
   */
  async scrub(inTurn: (task: () => void) => Promise<void>): Promise<void> {
    try {
      while (!this.#isSwept) {
        this.#sweeping ??= this.#sweep().finally(() => {
          this.#sweeping = undefined;
        });
        await this.#sweeping;
      }
      // Of those that wait for the turn, one does it for all.
      this.#emptying ??= inTurn(() => {
        this.#emptying = undefined;
        this.#empty();
      });
      await this.#emptying;
    } catch (error) {
      throw asStoreError(error, 'scrub the metadata store', this.#path);
    }
  }

  /** Before the database is closed, when SQLite would bring into the file what is left in the log. Never rejects. */
  async end(): Promise<void> {
    this.#isClosing = true;
    await this.#sweeping?.catch(() => undefined);
    try {
      this.#log.checkpoint();
    } catch {
      // The next start looks at the whole file.
    }
  }

  /** When it is closed. */
  close(): void {
    this.#log.close();
  }

  #empty(): void {
    try {
      this.#log.empty();
    } catch (error) {
      this.#missPages();
      throw error;
    }
    if (!this.#isSwept) throw new StoreError('io', `a part of \`${this.#path}\` could not be scrubbed`);
  }

  /** What is in the file may not have been cleared. */
  #missPages(): void {
    this.#isSwept = false;
    this.#hasMissedPages = true;
  }

  async #sweep(): Promise<void> {
    this.#hasMissedPages = false;
    const clear = (page: number, pageBytes: number): void => this.#log.clearPage(page, pageBytes);
    await sweepFile(this.#log.file, clear, (pages) => {
      if (this.#isClosing) throw new StoreError('closed', `the metadata store \`${this.#path}\` is closed`);
      this.#pagesRead += pages;
    });
    this.#isSwept = !this.#hasMissedPages;
  }
}
