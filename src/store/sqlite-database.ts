/**
 * One SQLite file, opened so that it can be trusted to keep what it took, and Kysely's way to talk to it.
 *
 * Write-ahead log and `synchronous=FULL`: a transaction that committed is on disk. `locking_mode=EXCLUSIVE`: the first
 * process keeps the file's locks until it closes it or dies, whichever way, so two daemons never write one store and a
 * killed one leaves nothing locked; the index of the write-ahead log then lives in memory instead of a shared file.
 * These are POSIX locks: they end when this process closes ANY descriptor of the file, so nothing here (nor a backup)
 * may open the database by its path while it is in use.
 *
 * Kysely's SQLite dialect expects better-sqlite3; what it uses of it is four functions, which `node:sqlite` has under
 * nearly the same names. It runs migrations outside transactions on SQLite (for PRAGMAs that we don't use); ours runs
 * them inside, so that a crash during an upgrade leaves the old schema.
 *
 * Source: SQLite, "PRAGMA locking_mode", "Write-Ahead Logging" (section 8, use without shared memory).
 */

import { accessSync, closeSync, constants, fsyncSync, lstatSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import {
  type CompiledQuery,
  type DatabaseIntrospector,
  type Dialect,
  type DialectAdapter,
  type Driver,
  type Kysely,
  type QueryCompiler,
  SqliteAdapter,
  type SqliteDatabase,
  SqliteDialect,
} from 'kysely';
import { fileProblem } from '../secrets/file-problem.ts';
import { privacyProblem } from '../secrets/private-files.ts';
import { asStoreError, StoreError } from './store-error.ts';

/**
 * Opens the file, or makes it, and locks it.
 * @throws StoreError `notPrivate`, `locked`, `damaged`, `readOnly`, `io`.
 */
export function openDatabaseFile(path: string): DatabaseSync {
  assertPrivate(path);
  let database: DatabaseSync | undefined;
  try {
    // Whoever waited for another daemon to end would rather hear of it: no time-out.
    database = new DatabaseSync(path, { timeout: 0, enableDoubleQuotedStringLiterals: false });
    database.exec('PRAGMA locking_mode = EXCLUSIVE');
    database.exec('PRAGMA journal_mode = WAL');
    database.exec('PRAGMA synchronous = FULL');
    database.exec('PRAGMA trusted_schema = OFF');
    // What is removed is overwritten: a wrapped key that was destroyed must not lie in a free page.
    database.exec('PRAGMA secure_delete = ON');
    // The lock is taken by the first use, and kept.
    database.exec('BEGIN EXCLUSIVE; COMMIT');
    return database;
  } catch (error) {
    database?.close();
    throw asStoreError(error, 'open the metadata store', path);
  }
}

/** The dialect through which Kysely uses this database. */
export function sqliteDialect(database: DatabaseSync): Dialect {
  return new TransactionalSqliteDialect(new SqliteDialect({ database: asKyselyDatabase(database) }));
}

/** SQLite creates its other files (the write-ahead log) with the mode of the database. */
function assertPrivate(path: string): void {
  const folder = dirname(path);
  try {
    const folderProblem = privacyProblem(folder, statSync(folder), 'folder');
    if (folderProblem !== undefined) throw new StoreError('notPrivate', folderProblem);
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) createFile(path, folder);
    const problem = stats === undefined ? undefined : privacyProblem(path, stats, 'file');
    if (problem !== undefined) throw new StoreError('notPrivate', problem);
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    if (error instanceof StoreError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const failure = code === 'EROFS' || code === 'EACCES' ? 'readOnly' : 'io';
    throw new StoreError(
      failure,
      `cannot open the metadata store \`${path}\`: ${fileProblem(error, 'write', 'this user')}`,
      { cause: error },
    );
  }
}

function createFile(path: string, folder: string): void {
  closeSync(openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600));
  const descriptor = openSync(folder, constants.O_RDONLY);
  fsyncSync(descriptor);
  closeSync(descriptor);
}

function asKyselyDatabase(database: DatabaseSync): SqliteDatabase {
  return {
    close: () => database.close(),
    prepare(sql) {
      const statement = database.prepare(sql);
      // A number above 2^53 - 1, which only an edit can have left, would otherwise fail the whole result.
      statement.setReadBigInts(true);
      const values = (parameters: readonly unknown[]): SQLInputValue[] => parameters.map(inputValue);
      return {
        reader: statement.columns().length > 0,
        all: (parameters) => statement.all(...values(parameters)),
        run: (parameters) => statement.run(...values(parameters)),
        iterate: (parameters) => statement.iterate(...values(parameters)),
      };
    },
  };
}

/**
 * The rows of a query as lists of their columns, one by one as they are asked for. For tables of which all is read: a hundred thousand
 * rows at once would take as much memory again as the records that become of them, and their columns' names half of the time.
 */
export function rowsOf(database: DatabaseSync, { sql, parameters }: CompiledQuery): Iterable<unknown[]> {
  const statement = database.prepare(sql);
  statement.setReadBigInts(true); // As above.
  statement.setReturnArrays(true);
  // The types of `node:sqlite` know rows as objects alone.
  return statement.iterate(...parameters.map(inputValue)) as Iterable<unknown> as Iterable<unknown[]>;
}

/** @throws TypeError for what is no column's value; the store binds texts, numbers and numbers of rows, Kysely's migrator texts. */
export function inputValue(value: unknown): SQLInputValue {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint') return value;
  throw new TypeError(`a value of type ${typeof value} is not stored`);
}

class TransactionalSqliteDialect implements Dialect {
  readonly #inner: SqliteDialect;

  constructor(inner: SqliteDialect) {
    this.#inner = inner;
  }

  createAdapter(): DialectAdapter {
    return new TransactionalSqliteAdapter();
  }

  createDriver(): Driver {
    return this.#inner.createDriver();
  }

  createIntrospector(db: Kysely<unknown>): DatabaseIntrospector {
    return this.#inner.createIntrospector(db);
  }

  createQueryCompiler(): QueryCompiler {
    return this.#inner.createQueryCompiler();
  }
}

class TransactionalSqliteAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}
