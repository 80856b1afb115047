/** What the steps of a migration do to tables: make one for a kind of records, and make one anew under another primary key. */

import { type Kysely, sql } from 'kysely';

/** Tables are made and named here; their rows are of any type until `record-columns.ts` has read them. */
// biome-ignore lint/complexity/noBannedTypes: a migration knows no table's type, and `{}` is how Kysely spells that.
export type AnySchema = {};

/** A table for records of a new kind. Members whose names end in `Ms` are numbers. */
export async function createRecords(
  db: Kysely<AnySchema>,
  table: string,
  primaryKey: readonly string[],
  others: readonly string[],
): Promise<void> {
  let created = db.schema
    .createTable(table)
    .addColumn('version', 'bigint', (column) => column.notNull())
    .addColumn('format', 'integer', (column) => column.notNull())
    .addColumn('mac', 'text', (column) => column.notNull())
    // Kysely knows the columns of a table by type, and this one has none.
    .addPrimaryKeyConstraint(`${table}PrimaryKey`, [...primaryKey] as never[]);
  for (const name of [...primaryKey, ...others]) {
    created = created.addColumn(name, name.endsWith('Ms') ? 'bigint' : 'text', (column) => column.notNull());
  }
  await created.execute();
}

/** Makes the table of a kind anew under another primary key, whose first column is empty in the rows that there are. */
export async function remade(
  db: Kysely<AnySchema>,
  table: string,
  primaryKey: readonly [string, string],
  others: readonly string[],
  numbers: readonly string[],
): Promise<void> {
  // As in `addRegion`.
  const rows = db as unknown as Kysely<Record<string, Record<string, unknown>>>;
  const former = `${table}Former`;
  const [added, id] = primaryKey;
  const columns = [id, 'version', 'format', 'mac', ...others, ...numbers];
  await db.schema.alterTable(table).renameTo(former).execute();
  await createRecords(db, table, primaryKey, others);
  for (const name of numbers)
    await db.schema
      .alterTable(table)
      .addColumn(name, 'bigint', (column) => column.notNull().defaultTo(0))
      .execute();
  await rows
    .insertInto(table)
    .columns([added, ...columns])
    .expression(rows.selectFrom(former).select([sql.lit('').as(added), ...columns] as never[]))
    .execute();
  await db.schema.dropTable(former).execute();
}

/** Puts the Region into the primary key of a table whose rows have none yet: they get an empty one. */
export async function addRegion(
  db: Kysely<AnySchema>,
  table: string,
  id: string,
  others: readonly string[],
): Promise<void> {
  // Kysely knows the tables and columns of a schema by type, and this one has none: hence the casts in this function.
  const rows = db as unknown as Kysely<Record<string, Record<string, unknown>>>;
  const former = `${table}Former`;
  const columns = [id, 'format', 'mac', ...others];
  await db.schema.alterTable(table).renameTo(former).execute();
  let created = db.schema
    .createTable(table)
    .addColumn('region', 'text', (column) => column.notNull())
    .addColumn(id, 'text', (column) => column.notNull())
    .addColumn('version', 'bigint', (column) => column.notNull())
    .addColumn('format', 'integer', (column) => column.notNull())
    .addColumn('mac', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint(`${table}PrimaryKey`, ['region', id] as never[]);
  for (const name of others) {
    created = created.addColumn(name, name.endsWith('AtMs') ? 'bigint' : 'text', (column) => column.notNull());
  }
  await created.execute();
  await rows
    .insertInto(table)
    .columns(['region', 'version', ...columns])
    .expression(
      rows.selectFrom(former).select([sql.lit('').as('region'), sql.lit(1).as('version'), ...columns] as never[]),
    )
    .execute();
  await db.schema.dropTable(former).execute();
}
