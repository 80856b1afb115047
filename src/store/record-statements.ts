/**
 * The statements by which a change reaches its row. INVARIANT: each of them puts or removes exactly one row, and none where
 * the record is not there in the version that the change was decided on; `transactions.ts` looks, and counts.
 */

import type { DatabaseSync } from 'node:sqlite';
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
import type { SeenRow, Write } from './transactions.ts';

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
  customKeyStore: 'customKeyStore',
  milestone: 'milestone',
  upkeepWait: 'upkeepWait',
  domainKey: 'domainKey',
  remnant: 'remnant',
  member: 'member',
} as const satisfies Record<RecordKind, string>;
/** As `CamelCasePlugin` names tables and columns in the file, for statements that are written by hand. */
export function sqlName(name: string): string {
  return `"${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}"`;
}

export const sqlNames = Object.fromEntries(
  Object.entries(tables).map(([kind, name]) => [kind, sqlName(name)]),
) as Readonly<Record<RecordKind, string>>; // One for each kind.
export type Tables = Record<(typeof tables)[RecordKind] | 'serviceKey' | 'node' | 'root', AnyRow>;

/** A record's columns with its MAC and the format of that. */
export type Row = Readonly<Record<string, ColumnValue>> & { readonly mac: string };

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
export function allRows(db: Kysely<Tables>, kind: RecordKind, which?: Expression<SqlBool>): CompiledQuery {
  const all = selection(db, kind);
  return (which === undefined ? all : all.where(which)).compile();
}

/** Are there more KMS keys than so many, of all Regions together? It counts no further. */
export function hasMoreKeys({ database }: { readonly database: DatabaseSync }, count: number): boolean {
  return database.prepare('select 1 from kms_key limit 1 offset ?').get(count) !== undefined;
}

/**
 * How many records of these kinds there are, roughly: more where many were removed. Of a file in which somebody has given a row a number
 * of his own it is as many as it has room for.
 */
export function roughCount({ database }: { readonly database: DatabaseSync }, kinds: readonly RecordKind[]): number {
  const numberOf = (text: string): number => Number(Object.values(database.prepare(text).get() ?? {})[0]);
  const fileBytes = numberOf('pragma page_count') * numberOf('pragma page_size');
  const count = kinds.reduce(
    (sum, kind) => sum + numberOf(`select total(n) from (select max(rowid) as n from ${sqlNames[kind]})`),
    0,
  );
  return Math.min(Math.max(0, count), Math.floor(fileBytes / fewestBytesOfRow));
}

/** Of a record, whose MAC alone has 64; an alias has some 250. */
const fewestBytesOfRow = 128;

/** The row of one record, with the same columns. */
export function oneRow(db: Kysely<Tables>, { kind, columns }: PreparedChange): CompiledQuery {
  return selection(db, kind).where(isRecord(kind, columns)).compile();
}

/** Their columns in the order of `memberNames`, then `format` and `mac`. */
export function selection(db: Kysely<Tables>, kind: RecordKind) {
  const table: keyof Tables = tables[kind];
  return db.selectFrom(table).select([...memberNames(kind), 'format', 'mac']);
}

/**
 * How a record's row is found. The primary key's index gives the number of the row, and the table its columns: SQLite would
 * otherwise believe the index for what stands in both.
 */
function seenRow(db: Kysely<Tables>, kind: RecordKind, columns: Columns, version: number | null): SeenRow {
  const table: keyof Tables = tables[kind];
  const names = primaryKeys[kind];
  const key = names.map((name) => columns[name]);
  const query = statementOf(db, `seen ${kind}`, key, () => {
    const number = db.selectFrom(table).select(sql`rowid`.as('rowid')).where(isRecord(kind, columns));
    return db
      .selectFrom(table)
      .select([...names.map((name) => sql.ref(name).as(`key_${name}`)), 'version as seenVersion', 'mac as seenMac'])
      .select(memberNames(kind))
      .where(sql<SqlBool>`rowid = ${number}`)
      .compile();
  });
  return { query, key, version };
}

/** Removes the record in the version in which it was seen. */
export function removal(db: Kysely<Tables>, { kind, columns, change }: PreparedChange): Write {
  const { version } = change.record;
  const statement = statementOf(db, `remove ${kind}`, [...keyOf(kind, columns), version], () =>
    db.deleteFrom(tables[kind]).where(isRecord(kind, columns)).where('version', '=', version).compile(),
  );
  return { kind, seen: seenRow(db, kind, columns, version), statement };
}

/** Puts a record: a new one where there is none, or in the place of the version that it replaces. */
export function writing(db: Kysely<Tables>, { kind, columns, change }: PreparedChange, row: Row): Write {
  const replaces = 'put' in change ? change.replaces : null;
  const seen = seenRow(db, kind, columns, replaces);
  if (replaces === null) {
    const statement = statementOf(db, `add ${kind}`, Object.values(row), () =>
      db
        .insertInto(tables[kind])
        .values(row)
        .onConflict((conflict) => conflict.doNothing())
        .compile(),
    );
    return { kind, columns, seen, mac: row.mac, statement };
  }
  const statement = statementOf(db, `replace ${kind}`, [...Object.values(row), ...keyOf(kind, columns), replaces], () =>
    db.updateTable(tables[kind]).set(row).where(isRecord(kind, columns)).where('version', '=', replaces).compile(),
  );
  return { kind, columns, seen, mac: row.mac, statement };
}

/** A row of a former format: how it stands there, perhaps with no Region yet, and its record as it is put in its place. */
export interface FormerRow {
  readonly columns: Columns;
  readonly anew: PreparedChange;
}

/** Sets what differs: of a column that is set SQLite writes the indexes anew, each of which has the row in another page. */
export function rewriting(db: Kysely<Tables>, { columns, anew }: FormerRow, row: Row): Write {
  const { kind } = anew;
  const changed = Object.fromEntries(Object.entries(row).filter(([name, value]) => columns[name] !== value));
  const name = `rewrite ${Object.keys(changed).join(' ')} of ${kind}`;
  const statement = statementOf(db, name, [...Object.values(changed), ...keyOf(kind, columns)], () =>
    db.updateTable(tables[kind]).set(changed).where(isRecord(kind, columns)).compile(),
  );
  return {
    kind,
    columns: anew.columns,
    seen: seenRow(db, kind, columns, Number(columns['version'])),
    mac: row.mac,
    statement,
  };
}

function keyOf(kind: RecordKind, columns: Columns): readonly unknown[] {
  return primaryKeys[kind].map((name) => columns[name]);
}

/** Of each database, by what they do and the kind of record that they do it to. */
const compiled = new WeakMap<object, Map<string, CompiledQuery>>();

/**
 * A statement that is compiled the first time: Kysely takes 70 to 150 µs for each of them, which is most of what a record costs that is
 * written anew. The columns of a kind are the same each time, in the same order (`toColumns`).
 * @param compile With these values.
 * @throws TypeError where they are not what the statement takes.
 */
function statementOf(
  db: Kysely<Tables>,
  name: string,
  values: readonly unknown[],
  compile: () => CompiledQuery,
): CompiledQuery {
  const known = compiled.get(db) ?? new Map<string, CompiledQuery>();
  compiled.set(db, known);
  let statement = known.get(name);
  if (statement === undefined) {
    statement = compile();
    if (statement.parameters.some((value, at) => value !== values[at]))
      throw new TypeError(`the statement \`${name}\` takes its values in another order`);
    known.set(name, statement);
  }
  if (statement.parameters.length !== values.length)
    throw new TypeError(`the statement \`${name}\` takes ${statement.parameters.length} values, not ${values.length}`);
  return { ...statement, parameters: values };
}
