/**
 * A copy of the database while it is in use, by SQLite's own online backup: what a transaction writes meanwhile is in the copy
 * as a whole or not at all, and nobody waits for longer than for a hundred pages.
 *
 * It is made through the connection that has the file open, never by its path: another descriptor of the file would take the locks
 * along when it is closed (`sqlite-database.ts`).
 *
 * Pages may be copied with what remains in them of rows that were removed meanwhile, so the copy is swept before anybody has it.
 *
 * Source: SQLite, "Online Backup API"; Node.js, `sqlite.backup`.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { backup, DatabaseSync } from 'node:sqlite';
import type { Kysely } from 'kysely';
import { flushWhile } from './flushed-file.ts';
import type { CopiedStore } from './metadata-store.ts';
import type { Tables } from './record-statements.ts';
import { claimedStanding, rootRows } from './signed-root.ts';
import { rowsOf } from './sqlite-database.ts';
import { asStoreError } from './store-error.ts';
import { clearPage, sweepFile } from './swept-file.ts';

/** @throws StoreError when the disk has no room for it or refuses it; then something may be left at `path`. */
export async function copyDatabase(database: DatabaseSync, db: Kysely<Tables>, path: string): Promise<CopiedStore> {
  try {
    closeSync(openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600));
    // The last part of it syncs the copy, and keeps everybody from the database meanwhile.
    await flushWhile(path, () => backup(database, path));
    await sweepCopy(path);
    const copy = new DatabaseSync(path);
    try {
      // It is read into a backup and removed.
      copy.exec('PRAGMA synchronous = OFF');
      // One file, which needs no other beside it.
      copy.exec('PRAGMA journal_mode = DELETE');
      return claimedStanding([...rowsOf(copy, rootRows(db))]);
    } finally {
      copy.close();
    }
  } catch (error) {
    throw asStoreError(error, 'copy the metadata store', path);
  }
}

async function sweepCopy(path: string): Promise<void> {
  const file = openSync(path, constants.O_RDWR);
  try {
    await sweepFile(file, (page, pageBytes) => clearPage(file, page, pageBytes));
  } finally {
    closeSync(file);
  }
}
