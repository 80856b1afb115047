/**
 * What was once written is read for ever. A member is added to a record by the next format of its kind and a migration
 * step, and `record-formats.txt` has each format; databases in `fixtures/schema-*` are what former schemas left.
 */

import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { recordKinds, toColumns } from '../../src/store/record-columns.ts';
import { newestFormat, recordFormats } from '../../src/store/record-mac.ts';
import { tables } from '../../src/store/record-statements.ts';
import type { RecordKind } from '../../src/store/records/records.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { snakeCase } from './former-rows.ts';
import { examples, formerRegion, testMacs } from './records.ts';

const howToAdd =
  'give a new member the next number of its kind in `recordFormats` of src/store/record-mac.ts, and its column a new step in src/store/migrations.ts with the same value for older rows';
const neverChanged = `a format that wrote rows is never changed: ${howToAdd}`;

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  path = join(folder, 'metadata.db');
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = () => openSqliteStore({ path, macs: testMacs, formerRegion });

/** What each format brought, a member a line. */
function formatLines(): readonly string[] {
  return recordKinds.flatMap((kind) => {
    const members = Object.entries(toColumns(kind, examples[kind])).map(([member, column]) => {
      const added = recordFormats[kind][member];
      const type = typeof column === 'string' ? 'text' : 'number';
      const older = added === undefined ? '' : `, ${JSON.stringify(added.column)} in older rows`;
      return { format: added?.format ?? 1, line: `${member}: ${type}${older}` };
    });
    const formats = Array.from({ length: newestFormat(recordFormats[kind]) }, (_, index) => index + 1);
    return formats.flatMap((format) =>
      members
        .filter((member) => member.format === format)
        .map(({ line }) => `${formatName(kind, format)}: ${line}`)
        .sort(),
    );
  });
}

function formatName(kind: RecordKind, format: number): string {
  return `${kind} ${format}`;
}

/** The lines of each format, by its name. */
function byFormat(lines: readonly string[]): ReadonlyMap<string, readonly string[]> {
  return Map.groupBy(lines, (line) => line.split(':', 1)[0] ?? '');
}

function rowsOf(kind: RecordKind): readonly Record<string, SQLOutputValue>[] {
  const database = new DatabaseSync(path);
  try {
    return database
      .prepare(`SELECT * FROM ${snakeCase(tables[kind])}`)
      .all()
      .map((row) => ({ ...row }));
  } finally {
    database.close();
  }
}

test('each format is what it was when it was first written', async () => {
  const today = formatLines();
  const known = byFormat(
    readFileSync(new URL('record-formats.txt', import.meta.url), 'utf8')
      .trimEnd()
      .split('\n'),
  );
  // Before the snapshot is compared, so that no update of snapshots changes a line that is there.
  for (const [format, lines] of known) expect(byFormat(today).get(format), neverChanged).toEqual(lines);
  await expect(`${today.join('\n')}\n`).toMatchFileSnapshot(
    './record-formats.txt',
    'a new format is put on record: run this test with `-u` and review the lines that it adds',
  );
});

test.each(recordKinds)('the table of each kind has the columns of its members, and no other: %s', async (kind) => {
  await (await open()).close();
  const database = new DatabaseSync(path);
  const info = database.prepare(`SELECT name FROM pragma_table_info('${snakeCase(tables[kind])}') ORDER BY name`).all();
  database.close();
  const members = Object.keys(toColumns(kind, examples[kind])).map(snakeCase);
  expect(
    info.map(({ name }) => name),
    `src/store/migrations.ts and src/store/record-columns.ts do not go together: ${howToAdd}`,
  ).toEqual(['format', 'mac', ...members].sort());
});

const fixtures = new URL('fixtures/', import.meta.url);
const schemas = readdirSync(fixtures).filter((name) => name.startsWith('schema-'));

function databaseOf(schema: string): string {
  return readFileSync(new URL(`${schema}/metadata.sql`, fixtures), 'utf8');
}

/** The kinds that there were. */
function kindsOf(schema: string): readonly RecordKind[] {
  return recordKinds.filter((kind) => databaseOf(schema).includes(`INSERT INTO "${snakeCase(tables[kind])}"`));
}

const firstKinds = ['key', 'backingKey', 'keyPolicy', 'alias', 'grant', 'accessKey'] as const;
const lifeKinds = ['tombstone', 'lastUse', 'wrappingKey', 'milestone', 'upkeepWait'] as const;
const kindsOfSchemas: Readonly<Record<string, readonly RecordKind[]>> = {
  'schema-0005': firstKinds,
  'schema-0006': [...firstKinds, ...lifeKinds],
};

test('each former schema is there with a record of each kind that there was', () => {
  expect(schemas.toSorted()).toEqual(Object.keys(kindsOfSchemas));
  for (const schema of schemas) expect([schema, kindsOf(schema)]).toEqual([schema, kindsOfSchemas[schema]]);
});

describe.each(schemas)('a database that was left at %s', (schema) => {
  beforeEach(() => {
    const database = new DatabaseSync(path);
    database.exec(databaseOf(schema));
    database.close();
    chmodSync(path, 0o600);
  });

  test.each(kindsOf(schema))('is read, and has its rows as they were, in today’s format: %s', async (kind) => {
    const former = rowsOf(kind);
    const store = await open();
    const loaded = await store.load().finally(() => store.close());
    expect(
      loaded.quarantined.filter((record) => record.kind === kind),
      neverChanged,
    ).toEqual([]);
    expect(loaded[kind]).toHaveLength(former.length);
    const expected = former.map(({ mac, ...row }) => {
      const added = Object.entries(recordFormats[kind]).filter(([, { format }]) => format > Number(row['format']));
      const columns = added.map(([member, { column }]) => [snakeCase(member), column] as const);
      return { ...row, ...Object.fromEntries(columns), format: newestFormat(recordFormats[kind]) };
    });
    expect(rowsOf(kind).map(({ mac, ...row }) => row)).toEqual(expected);
  });
});
