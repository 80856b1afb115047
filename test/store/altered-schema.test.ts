/** What somebody put into the database file beside rows, with a SQLite of his own, while no daemon had it open. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { CamelCasePlugin, Kysely } from 'kysely';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { migrations } from '../../src/store/migrations.ts';
import { prepareChange, type Row, removal, type Tables, writing } from '../../src/store/record-statements.ts';
import { added, type Change, removed, replaced } from '../../src/store/records/changes.ts';
import { migrateToLatest } from '../../src/store/schema-migration.ts';
import { openDatabaseFile, sqliteDialect } from '../../src/store/sqlite-database.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { Transactions } from '../../src/store/transactions.ts';
import { aliasPut, asPuts, conflict, examplePuts, examples, formerRegion, testMacs } from './records.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  path = join(folder, 'metadata.db');
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = () => openSqliteStore({ path, macs: testMacs, formerRegion });

async function createStore(): Promise<void> {
  const store = await open();
  await store.write(examplePuts);
  await store.close();
}

function edit(...sql: readonly string[]): void {
  const database = new DatabaseSync(path, { defensive: false });
  try {
    for (const statement of sql) database.exec(statement);
  } finally {
    database.close();
  }
}

const swallow = (what: string): string => `CREATE TRIGGER swallow BEFORE ${what} BEGIN SELECT RAISE(IGNORE); END`;

describe('a store with a schema that is not exactly ours', () => {
  test.each<[string, readonly string[], string]>([
    [
      'a trigger that swallows what revokes grants',
      [swallow('DELETE ON key_grant')],
      "its trigger `swallow` on `key_grant` is none of Drawbridge's",
    ],
    [
      'a trigger that undoes what is written',
      [
        'CREATE TRIGGER undo AFTER UPDATE ON key_policy WHEN new.document <> old.document BEGIN UPDATE key_policy SET document = old.document, version = old.version, mac = old.mac; END',
      ],
      "its trigger `undo` on `key_policy` is none of Drawbridge's",
    ],
    [
      'a trigger on the names of the steps themselves',
      [swallow('INSERT ON schema_migration')],
      "its trigger `swallow` on `schema_migration` is none of Drawbridge's",
    ],
    ['one more view', ['CREATE VIEW seen AS SELECT * FROM alias'], "its view `seen` is none of Drawbridge's"],
    ['one more table', ['CREATE TABLE notes (text)'], "its table `notes` is none of Drawbridge's"],
    [
      'one more index',
      ['CREATE UNIQUE INDEX one_document ON key_policy (document)'],
      "its index `one_document` on `key_policy` is none of Drawbridge's",
    ],
    ['one more column', ['ALTER TABLE alias ADD COLUMN note text'], 'its table `alias` is not as Drawbridge made it'],
    [
      'a column less',
      ['ALTER TABLE access_key DROP COLUMN created_at_ms'],
      'its table `access_key` is not as Drawbridge made it',
    ],
    [
      'a column by another name',
      ['ALTER TABLE key_policy RENAME COLUMN document TO documents'],
      'its table `key_policy` is not as Drawbridge made it',
    ],
    [
      'a table less',
      ['DROP TABLE tombstone'],
      'its table `tombstone` is missing, its index `sqlite_autoindex_tombstone_1` on `tombstone` is missing',
    ],
    [
      'a view in the place of a table',
      ['ALTER TABLE access_key RENAME TO hidden', 'CREATE VIEW access_key AS SELECT * FROM hidden'],
      "its table `hidden` is none of Drawbridge's, its index `sqlite_autoindex_hidden_1` on `hidden` is none of Drawbridge's, " +
        "its view `access_key` is none of Drawbridge's, its table `access_key` is missing, " +
        'its index `sqlite_autoindex_access_key_1` on `access_key` is missing',
    ],
    [
      'a text of the schema that was written past SQLite',
      [
        'PRAGMA writable_schema = ON',
        "UPDATE sqlite_schema SET sql = replace(sql, '\"mac\" text not null', '\"mac\" text collate nocase not null') WHERE name = 'alias'",
      ],
      'its table `alias` is not as Drawbridge made it',
    ],
    [
      'more than anybody wants to read',
      Array.from({ length: 7 }, (_, index) => `CREATE TABLE t${index} (id)`),
      `${[0, 1, 2, 3, 4].map((index) => `its table \`t${index}\` is none of Drawbridge's`).join(', ')}, and 2 more`,
    ],
  ])('is refused, and what it is gets named: %s', async (_what, sql, named) => {
    await createStore();
    edit(...sql);
    await expect(open()).rejects.toMatchObject({
      name: 'StoreError',
      failure: 'altered',
      message:
        `the schema of \`${path}\` was altered: ${named}; ` +
        'whoever did that can change records: find out who could write to the file, and restore it from a backup',
    });
  });

  test('is refused before a step of the schema runs into it', async () => {
    await migrateTo(Object.keys(migrations).slice(0, 4));
    edit('CREATE TRIGGER copy AFTER UPDATE ON key_policy BEGIN DELETE FROM key_policy; END');
    await expect(open()).rejects.toMatchObject({ failure: 'altered' });
    edit('DROP TRIGGER copy');
    await (await open()).close();
  });

  test('is refused when it says that it went through other steps than it did', async () => {
    await createStore();
    edit("DELETE FROM schema_migration WHERE name LIKE '0006%'");
    await expect(open()).rejects.toMatchObject({ failure: 'altered' });
  });
});

test('a store that was stopped before its first step is made', async () => {
  await migrateTo([]);
  edit('DROP TABLE schema_migration_lock');
  await createStore();
});

test('a store that was vacuumed is ours', async () => {
  await createStore();
  edit('VACUUM');
  const store = await open();
  expect(asPuts(await store.load())).toHaveLength(examplePuts.length);
  await store.close();
});

/** Makes the file as a version with these steps alone left it. */
async function migrateTo(names: readonly string[]): Promise<void> {
  const { database, db } = connect();
  const steps = Object.fromEntries(Object.entries(migrations).filter(([name]) => names.includes(name)));
  await migrateToLatest(db, path, steps);
  database.close();
}

function connect() {
  const database = openDatabaseFile(path);
  const db = new Kysely<Tables>({ dialect: sqliteDialect(database), plugins: [new CamelCasePlugin()] });
  return { database, db };
}

describe('a write that does not do what it says', () => {
  const second = aliasPut('second');
  const newPolicy = replaced('keyPolicy', examples.keyPolicy, { document: '{}' });
  const mac = '00'.repeat(32);

  test.each([
    ['an insertion is swallowed', swallow('INSERT ON alias'), added('alias', aliasPut('third').record)],
    ['an update is swallowed', swallow('UPDATE ON key_policy'), newPolicy],
    ['a removal is swallowed', swallow('DELETE ON key_grant'), removed('grant', examples.grant)],
    [
      'an update is undone',
      'CREATE TRIGGER undo AFTER UPDATE ON key_policy WHEN new.document <> old.document BEGIN UPDATE key_policy SET document = old.document; END',
      newPolicy,
    ],
    [
      'a removal takes more with it',
      'CREATE TRIGGER more AFTER DELETE ON key_grant BEGIN DELETE FROM key_policy; END',
      removed('grant', examples.grant),
    ],
    [
      'an insertion puts another row back',
      'CREATE TRIGGER more AFTER INSERT ON alias BEGIN UPDATE kms_key SET version = 1; END',
      added('alias', aliasPut('third').record),
    ],
  ])('fails, and nothing of its transaction stays: %s', async (_what, trigger, change) => {
    await createStore();
    const { database, db } = connect();
    database.exec(trigger);
    const writesOf = (changes: readonly Change[]) =>
      changes.map((each) => {
        const prepared = prepareChange(each);
        const row: Row = { ...prepared.columns, format: 1, mac };
        return 'put' in each ? writing(db, prepared, row) : removal(db, prepared);
      });
    const before = contents(database);
    const transactions = new Transactions(database, path, () => undefined);
    for (const changes of [[change], [removed('accessKey', examples.accessKey), change]]) {
      expect(() => transactions.run(writesOf(changes))).toThrow(
        expect.objectContaining({
          failure: 'altered',
          message: `a write to \`${path}\` changed other rows than it says, and was undone: somebody edited the file; stop the daemon and restore the file from a backup`,
        }),
      );
      expect(contents(database)).toEqual(before);
    }
    transactions.close();
  });

  test('fails where an index was edited and leads to another row', async () => {
    await createStore();
    const store = await open();
    await store.write([second]);
    await store.close();
    // The index of what is another table now has the entries of both rows the wrong way round.
    edit(
      'PRAGMA writable_schema = ON',
      'CREATE TABLE wrong AS SELECT * FROM alias ORDER BY alias_name DESC',
      "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'wrong') WHERE name = 'alias' AND type = 'table'",
      "DELETE FROM sqlite_schema WHERE name = 'wrong'",
    );
    const edited = await open();
    await expect(edited.write([removed('alias', second.record)])).rejects.toMatchObject({ failure: 'altered' });
    await edited.close();
  });

  test('is a conflict, and no more than that, where somebody was faster', async () => {
    await createStore();
    const store = await open();
    await expect(store.write([added('alias', examples.alias)])).rejects.toMatchObject(conflict);
    await store.write([newPolicy]);
    await expect(store.write([newPolicy])).rejects.toMatchObject(conflict);
    await store.close();
  });
});

function contents(database: DatabaseSync): unknown {
  const tables = ['alias', 'key_policy', 'key_grant', 'kms_key', 'access_key'];
  return tables.map((table) => database.prepare(`SELECT * FROM ${table}`).all());
}
