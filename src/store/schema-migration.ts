/** Brings a database's schema up to date by the steps that make it (`migrations.ts`), and finds what is none of theirs. */

import { DatabaseSync } from 'node:sqlite';
import { CamelCasePlugin, Kysely } from 'kysely';
import { Migrator } from 'kysely/migration';
import type { AnySchema } from './migrated-tables.ts';
import { migrations, type Step } from './migrations.ts';
import { assertSameSchema, type SchemaObject, schemaOf } from './schema-check.ts';
import { sqliteDialect } from './sqlite-database.ts';
import { StoreError } from './store-error.ts';

/**
 * Brings the schema up to date, each step in a transaction of its own.
 * @throws StoreError `newerSchema` when the database has a step that this version does not know, `altered` when its schema is
 * not what its steps make: nothing was changed then.
 */
export async function migrateToLatest<Schema>(
  db: Kysely<Schema>,
  path: string,
  steps: Readonly<Record<string, Step>> = migrations,
): Promise<void> {
  const applied = await appliedSteps(db);
  for (const name of applied) {
    if (Object.hasOwn(steps, name)) continue;
    throw new StoreError(
      'newerSchema',
      `\`${path}\` was written by a newer Drawbridge (it has the schema step \`${name}\`); run that version, or restore a backup from before it`,
    );
  }
  const gone = Object.fromEntries(Object.entries(steps).filter(([name]) => applied.includes(name)));
  // Steps that cannot follow each other never made anything.
  const ours = await schemaOfSteps(gone).catch(() => []);
  assertSameSchema(path, await schemaOf(db), ours, { mayLack: applied.length === 0 });
  await migrate(db, steps);
}

async function migrate<Schema>(db: Kysely<Schema>, steps: Readonly<Record<string, Step>>): Promise<void> {
  const migrator = new Migrator({
    // The migrator works on any schema; Kysely's type of it is the widest one.
    db: db as unknown as Kysely<AnySchema>,
    provider: { getMigrations: async () => ({ ...steps }) },
    migrationTableName: 'schemaMigration',
    migrationLockTableName: 'schemaMigrationLock',
  });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}

/** What these steps make of a new database. A process that opens several stores makes it once: a step never changes. */
function schemaOfSteps(steps: Readonly<Record<string, Step>>): Promise<readonly SchemaObject[]> {
  const names = Object.keys(steps).join(' ');
  const known = schemas.get(names) ?? makeSchema(steps);
  schemas.set(names, known);
  return known;
}

const schemas = new Map<string, Promise<readonly SchemaObject[]>>();

async function makeSchema(steps: Readonly<Record<string, Step>>): Promise<readonly SchemaObject[]> {
  const database = new DatabaseSync(':memory:');
  try {
    const db = new Kysely<AnySchema>({ dialect: sqliteDialect(database), plugins: [new CamelCasePlugin()] });
    await migrate(db, steps);
    return await schemaOf(db);
  } finally {
    database.close();
  }
}

async function appliedSteps<Schema>(db: Kysely<Schema>): Promise<readonly string[]> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some((table) => table.name === 'schema_migration')) return [];
  const rows = await (db as unknown as Kysely<{ schemaMigration: { name: string } }>)
    .selectFrom('schemaMigration')
    .select('name')
    .execute();
  return rows.map((row) => row.name);
}
