/**
 * What was removed is gone from the file, and that is seen and not assumed.
 *
 * `secure_delete` (`sqlite-database.ts`) overwrites what a page gives up, and the write-ahead log is emptied into the file and cut to
 * nothing. What remains are copies that SQLite makes when it moves rows from a page to another one, and leaves where they were. So the file
 * is searched for what must be gone; where it is found, or nobody knows what to search for, the whole file is written anew (`VACUUM`),
 * and searched again.
 *
 * The file is read through one descriptor that stays open for as long as the database does: closing any would end the locks on it.
 * Blocks of a disk, its journal, snapshots and backups are beyond this.
 *
 * Source: SQLite, "PRAGMA secure_delete", "PRAGMA wal_checkpoint", "VACUUM".
 */

import { closeSync, openSync, read as readAt } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { asStoreError, StoreError } from './store-error.ts';

const read = promisify(readAt);
const chunkBytes = 1024 * 1024;
/** Imported twice, the same material is wrapped to the same bytes: what another key has still is no trace of the one that is gone. */
const isHeldQuery = 'SELECT 1 FROM backing_key WHERE wrapped_key = ? LIMIT 1';
/** A long text is spread over pages, so that parts of it are searched for; so many characters of a wrapped key occur nowhere else. */
const partCharacters = 40;

export class Scrubbing {
  readonly #database: DatabaseSync;
  readonly #path: string;
  #descriptor: number | undefined;

  constructor(database: DatabaseSync, path: string) {
    this.#database = database;
    this.#path = path;
  }

  /** @param gone Texts of columns; `null`: whatever was. */
  async scrub(gone: readonly string[] | null): Promise<void> {
    try {
      this.#emptyLog();
      if (gone !== null && !(await this.#isThere(gone))) return;
      this.#database.exec('VACUUM');
      this.#emptyLog();
      if (gone === null || !(await this.#isThere(gone))) return;
    } catch (error) {
      throw asStoreError(error, 'scrub the metadata store', this.#path);
    }
    throw new StoreError('io', `what was destroyed is still in \`${this.#path}\` after it was written anew`);
  }

  /** When the database is closed. */
  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #emptyLog(): void {
    const row = this.#database.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get();
    if (Number(row?.['busy']) !== 0) throw new StoreError('io', `the log of \`${this.#path}\` cannot be emptied now`);
  }

  /**
   * Whether one of them is held is asked where it was found: to ask it is to go through all backing keys, in which nobody else is served
   * (0.2 s with a million).
   */
  async #isThere(texts: readonly string[]): Promise<boolean> {
    const isHeld = this.#database.prepare(isHeldQuery);
    let sought = texts.map((text) => ({ text, parts: partsOf(text) }));
    this.#descriptor ??= openSync(this.#path, 'r');
    const buffer = Buffer.alloc(chunkBytes + partCharacters);
    let [at, kept] = [0, 0];
    while (sought.length > 0) {
      const { bytesRead } = await read(this.#descriptor, buffer, kept, chunkBytes, at);
      if (bytesRead === 0) return false;
      const filled = buffer.subarray(0, kept + bytesRead);
      const found = sought.filter(({ parts }) => parts.some((part) => filled.includes(part)));
      if (found.some(({ text }) => isHeld.get(text) === undefined)) return true;
      sought = sought.filter((each) => !found.includes(each));
      at += bytesRead;
      // A part may lie across two chunks.
      kept = Math.min(partCharacters - 1, filled.length);
      filled.copyWithin(0, filled.length - kept);
    }
    return false;
  }
}

/** From its beginning, its middle and its end. */
function partsOf(text: string): readonly Buffer[] {
  const last = Math.max(0, text.length - partCharacters);
  return [0, Math.floor(last / 2), last].map((start) => Buffer.from(text.slice(start, start + partCharacters)));
}
