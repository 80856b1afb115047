/**
 * The statements by which a change reaches its row. INVARIANT: each of them puts or removes exactly one row, and none where
 * the record is not there in the version that the change was decided on; whoever runs one counts.
 */

import {
  type ColumnType,
  type CompiledQuery,
  type Expression,
  type Kysely,
  type RawBuilder,
  type SqlBool,
  sql,
} from 'kysely';
import type { ColumnValue } from './column-member.ts';
import { type Columns, memberNames, toColumns } from './record-columns.ts';
import type { Change } from './records/changes.ts';
import { type MetadataRecords, primaryKeys, type RecordKind } from './records/records.ts';

/** A row is of no known type until `fromColumns` has read it. */
type AnyRow = Record<string, ColumnType<unknown, ColumnValue, ColumnValue>>;
export const tables = {
  key: 'kmsKey',
  backingKey: 'backingKey',
  keyPolicy: 'keyPolicy',
  alias: 'alias',
  grant: 'keyGrant',
  accessKey: 'accessKey',
  tombstone: 'tombstone',
  lastUse: 'lastUse',
  wrappingKey: 'wrappingKey',
  milestone: 'milestone',
  upkeepWait: 'upkeepWait',
} as const satisfies Record<RecordKind, string>;
export type Tables = Record<(typeof tables)[RecordKind] | 'serviceKey' | 'node', AnyRow>;

/** A record's columns with its MAC and the format of that. */
export type Row = Readonly<Record<string, ColumnValue>>;

/** A change with the columns of its record. */
export interface PreparedChange {
  readonly kind: RecordKind;
  readonly columns: Columns;
  readonly change: Change;
}

/** @throws TypeError for a value that the store cannot keep to the letter. */
export function prepareChange(change: Change): PreparedChange {
  const kind = 'put' in change ? change.put : change.remove;
  // Kind and record belong together by the type of `Change`, which TypeScript cannot carry through a call.
  return { kind, columns: toColumns(kind, change.record as MetadataRecords[typeof kind]), change };
}

/** The member that names a record, within its Region where it has one. */
export function idMember(kind: RecordKind): string {
  const names: readonly string[] = primaryKeys[kind];
  return names[names.length - 1] ?? '';
}

/** The condition by which a statement finds a record's row. */
export function isRecord(kind: RecordKind, columns: Columns): Expression<SqlBool> {
  const equal = primaryKeys[kind].map((name) => sql<SqlBool>`${sql.ref(name)} = ${columns[name]}`);
  return sql.join(equal, sql` and `) as RawBuilder<SqlBool>; // A conjunction of what are truth values.
}

/**
 * All rows of a kind, in no order (that of the primary key would have SQLite look up each row by itself): their columns in the order
 * of `memberNames`, then `format` and `mac`. For whoever reads them past Kysely, which would name them in an object more for each.
 */
export function allRows(db: Kysely<Tables>, kind: RecordKind): CompiledQuery {
  return selection(db, kind).compile();
}

/** The row of one record, with the same columns. */
export function oneRow(db: Kysely<Tables>, { kind, columns }: PreparedChange): CompiledQuery {
  return selection(db, kind).where(isRecord(kind, columns)).compile();
}

function selection(db: Kysely<Tables>, kind: RecordKind) {
  const table: keyof Tables = tables[kind];
  return db.selectFrom(table).select([...memberNames(kind), 'format', 'mac']);
}

/** Removes the record in the version in which it was seen. */
export function removal(db: Kysely<Tables>, { kind, columns, change }: PreparedChange): CompiledQuery {
  return db
    .deleteFrom(tables[kind])
    .where(isRecord(kind, columns))
    .where('version', '=', change.record.version)
    .compile();
}

/** Puts a record: a new one where there is none, or in the place of the version that it replaces. */
export function writing(db: Kysely<Tables>, { kind, columns, change }: PreparedChange, row: Row): CompiledQuery {
  const replaces = 'put' in change ? change.replaces : null;
  if (replaces === null) {
    const insertion = db.insertInto(tables[kind]).values(row);
    return insertion.onConflict((conflict) => conflict.doNothing()).compile();
  }
  return db.updateTable(tables[kind]).set(row).where(isRecord(kind, columns)).where('version', '=', replaces).compile();
}

/** A row of a former format: how it stands there, perhaps with no Region yet, and its record as it is put in its place. */
export interface FormerRow {
  readonly columns: Columns;
  readonly anew: PreparedChange;
}

export function rewriting(db: Kysely<Tables>, { columns, anew: { kind } }: FormerRow, row: Row): CompiledQuery {
  return db.updateTable(tables[kind]).set(row).where(isRecord(kind, columns)).compile();
}
