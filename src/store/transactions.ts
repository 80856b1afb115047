/**
 * Writes: a list of statements as one transaction, counted.
 *
 * INVARIANT: every write puts or removes exactly one row, the one that it was decided on, or nothing of the transaction stays.
 * The row is looked at first: where it is there in another version than the one that was seen, or is not there, somebody was
 * faster (`conflict`). A statement that then changes another number of rows than one, or makes SQLite change more beside them,
 * did not do what it says (`altered`): something in the file works against us, and whoever asked must not hear that it was done.
 */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { CompiledQuery } from 'kysely';
import type { Columns } from './record-columns.ts';
import type { RecordKind } from './records/records.ts';
import { inputValue } from './sqlite-database.ts';
import { asStoreError, StoreError } from './store-error.ts';

/** A statement that puts or removes one row. */
export interface Write {
  readonly statement: CompiledQuery;
  /** How its row is found before; absent for one that cannot be there. */
  readonly seen?: SeenRow;
  /** Of the row that it puts; absent for a removal, and for rows without one. */
  readonly mac?: string;
  /** What the row is of, where it is a record's. */
  readonly kind?: RecordKind;
  /** Those of the record that it puts. */
  readonly columns?: Columns;
  /** How many rows it changes; one unless given. */
  readonly rows?: number;
}

/** The MACs of records that a transaction has removed or replaced, as they stood in the file, and of those that it has put. */
export interface Replaced {
  readonly replaced: readonly unknown[];
  readonly put: readonly string[];
  /** What they replaced and put, to the letter. */
  readonly rows: { readonly replaced: readonly ReplacedRow[]; readonly put: readonly PutForm[] };
}

/** A row that was removed or replaced, as it stood there: its columns in the order of `memberNames`. */
export interface ReplacedRow {
  readonly kind: RecordKind;
  readonly row: readonly unknown[];
}

export interface PutForm {
  readonly kind: RecordKind;
  readonly columns: Columns;
}

/** The row in whose place something is put, or that is removed. */
export interface SeenRow {
  /** Gives its primary key, as `key` has it, then its `version` and `mac`, then all its columns. */
  readonly query: CompiledQuery;
  readonly key: readonly unknown[];
  /** The version that the write was decided on; `null`: there is no such row. */
  readonly version: number | null;
}

export class Transactions {
  readonly #database: DatabaseSync;
  readonly #path: string;
  readonly #follow: () => void;
  readonly #statements = new Map<string, StatementSync>();

  /**
   * @param path Of the file, for what is said of it.
   * @param follow Told of each one that is on disk. Never throws.
   */
  constructor(database: DatabaseSync, path: string, follow: () => void) {
    this.#database = database;
    this.#path = path;
    this.#follow = follow;
  }

  /**
   * Writes all or nothing, and waits for the disk.
   * @param last What is written last depends on what was there.
   * @throws StoreError `conflict`, `altered`, and what the disk or the database refuses.
   */
  run(writes: readonly Write[], last?: (records: Replaced) => Write): void {
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      const before = this.#changedSoFar();
      const replacedRows: ReplacedRow[] = [];
      const replaced = writes.flatMap((write) => this.#write(write, replacedRows));
      const all = [...writes];
      if (last !== undefined) {
        const write = last({
          replaced,
          put: writes.flatMap(({ mac }) => mac ?? []),
          rows: { replaced: replacedRows, put: writes.flatMap(putForm) },
        });
        this.#write(write, replacedRows);
        all.push(write);
      }
      const expected = all.reduce((sum, { rows = 1 }) => sum + rows, 0);
      if (this.#changedSoFar() - before !== expected) throw this.altered();
      this.#database.exec('COMMIT');
    } catch (error) {
      // SQLite has rolled back by itself after some failures, and not after others.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw asStoreError(error, 'write to the metadata store', this.#path);
    }
    this.#follow();
  }

  /** A database that is closed has no statement left open. */
  close(): void {
    this.#statements.clear();
    this.#database.close();
  }

  /** @returns The MAC of what was there, if anything was, which is also among `replacedRows` then. */
  #write({ statement, seen, kind, rows = 1 }: Write, replacedRows: ReplacedRow[]): readonly unknown[] {
    const found = seen === undefined ? undefined : this.#asSeen(seen);
    if (found !== undefined && kind !== undefined) replacedRows.push({ kind, row: found.columns });
    const { changes } = this.#prepared(statement.sql).run(...statement.parameters.map(inputValue));
    if (Number(changes) !== rows) throw this.altered();
    return found === undefined ? [] : [found.mac];
  }

  #asSeen({
    query,
    key,
    version,
  }: SeenRow): { readonly mac: unknown; readonly columns: readonly unknown[] } | undefined {
    const row = this.#prepared(query.sql).get(...query.parameters.map(inputValue)) as unknown[] | undefined;
    if (row === undefined && version === null) return undefined;
    if (row === undefined || Number(row[key.length]) !== version) {
      throw new StoreError('conflict', 'a record is not there in the version that the change was decided on');
    }
    // An index that was edited leads to another row than it says.
    if (key.some((member, index) => row[index] !== member)) throw this.altered();
    return { mac: row[key.length + 1], columns: row.slice(key.length + 2) };
  }

  /** Rows that this connection changed, those of triggers among them. */
  #changedSoFar(): number {
    const row = this.#prepared('select total_changes()').get() as unknown as unknown[];
    return Number(row[0]);
  }

  /** Its rows are lists of their columns. */
  #prepared(text: string): StatementSync {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#database.prepare(text);
      statement.setReadBigInts(true); // A number that an edit left may be larger than 2^53 - 1.
      statement.setReturnArrays(true);
      this.#statements.set(text, statement);
    }
    return statement;
  }

  /** For a write over a row that is not what we wrote last. */
  altered(): StoreError {
    return new StoreError(
      'altered',
      `a write to \`${this.#path}\` changed other rows than it says, and was undone: somebody edited the file; stop the daemon and restore the file from a backup`,
    );
  }
}

function putForm({ kind, columns }: Write): readonly PutForm[] {
  return kind === undefined || columns === undefined ? [] : [{ kind, columns }];
}
