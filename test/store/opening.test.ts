import { execFile } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { CamelCasePlugin, Kysely } from 'kysely';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { migrations } from '../../src/store/migrations.ts';
import { migrateToLatest } from '../../src/store/schema-migration.ts';
import { openDatabaseFile, sqliteDialect } from '../../src/store/sqlite-database.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { aliasPut, asPuts, examplePuts, formerRegion, testMacs } from './records.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  path = join(folder, 'metadata.db');
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = () => openSqliteStore({ path, macs: testMacs, formerRegion });
const uid = process.geteuid?.();

async function createStore(): Promise<void> {
  const store = await open();
  await store.write(examplePuts);
  await store.close();
}

describe('opening the metadata store', () => {
  test('makes files that only their owner can read', async () => {
    const store = await open();
    await store.write(examplePuts);
    const modes = [path, `${path}-wal`].map((file) => (statSync(file).mode & 0o7777).toString(8));
    await store.close();
    expect(modes).toEqual(['600', '600']);
  });

  test.each<[string, () => void, string, () => string]>([
    [
      'a folder that others can enter',
      () => chmodSync(folder, 0o755),
      'notPrivate',
      () => `\`${folder}\` has mode 0755, so others can get at it; run: chmod 0700 ${folder}`,
    ],
    [
      'a database that others can read',
      () => writeFileSync(path, '', { mode: 0o640 }),
      'notPrivate',
      () => `\`${path}\` has mode 0640, so others can get at it; run: chmod 0600 ${path}`,
    ],
    ['a symbolic link', () => symlinkSync('/dev/null', path), 'notPrivate', () => `\`${path}\` is not a file`],
    ['a folder in its place', () => mkdirSync(path), 'notPrivate', () => `\`${path}\` is not a file`],
    [
      'a file that is no database',
      () => writeFileSync(path, 'x'.repeat(10_000), { mode: 0o600 }),
      'damaged',
      () =>
        `cannot open the metadata store \`${path}\`: file is not a database; it is not a database; restore it from a backup`,
    ],
    [
      'a folder that is not there',
      () => rmSync(folder, { recursive: true }),
      'io',
      () => `cannot open the metadata store \`${path}\`: its folder does not exist (ENOENT)`,
    ],
  ])('refuses %s', async (_what, prepare, failure, message) => {
    prepare();
    await expect(open()).rejects.toMatchObject({ name: 'StoreError', failure, message: message() });
    mkdirSync(folder, { recursive: true });
  });

  test.skipIf(uid !== 0)("refuses another user's folder and another user's database", async () => {
    await createStore();
    chownSync(path, 65_534, 65_534);
    await expect(open()).rejects.toMatchObject({
      failure: 'notPrivate',
      message: `\`${path}\` belongs to uid 65534, not to uid 0, who runs this; run as that user, or: chown 0 ${path}`,
    });
    chownSync(folder, 65_534, 65_534);
    await expect(open()).rejects.toMatchObject({ failure: 'notPrivate' });
  });

  test('refuses a second daemon, of this process or of another, and takes the first one again after it closed', {
    timeout: 170_000,
  }, async () => {
    const locked = `cannot open the metadata store \`${path}\`: database is locked; another process has it open; is a daemon already running on this folder?`;
    await createStore();
    const store = await open();
    await expect(open()).rejects.toMatchObject({ name: 'StoreError', failure: 'locked', message: locked });
    await expect(openInAnotherProcess()).rejects.toThrow(locked);
    await store.write([aliasPut('more')]);
    await store.close();
    await openInAnotherProcess();
    const reopened = await open();
    expect(asPuts(await reopened.load())).toHaveLength(examplePuts.length + 1);
    await reopened.close();
  });

  test('refuses the store of a newer version and leaves it alone', async () => {
    await createStore();
    const database = new DatabaseSync(path);
    database.exec("INSERT INTO schema_migration (name, timestamp) VALUES ('0009-from-the-future', '2030')");
    database.close();
    await expect(open()).rejects.toMatchObject({
      name: 'StoreError',
      failure: 'newerSchema',
      message: `\`${path}\` was written by a newer Drawbridge (it has the schema step \`0009-from-the-future\`); run that version, or restore a backup from before it`,
    });
  });

  test('refuses a store whose service key is named by what is no id', async () => {
    await createStore();
    const database = new DatabaseSync(path);
    database.exec("INSERT INTO service_key VALUES ('metadata-integrity', 'DROP')");
    database.close();
    await expect(open()).rejects.toMatchObject({ name: 'StoreError', failure: 'damaged' });
  });

  test.each([
    ['none', 'DELETE FROM node'],
    ['what is no id', "UPDATE node SET node_id = ''"],
  ])('refuses a store that names %s as its node', async (_what, sql) => {
    await createStore();
    const database = new DatabaseSync(path);
    database.exec(sql);
    database.close();
    await expect(open()).rejects.toMatchObject({
      name: 'StoreError',
      failure: 'damaged',
      message: `\`${path}\` does not say which node it is of; restore it from a backup`,
    });
  });

  test('gives a store one id of a node, which stays', async () => {
    const ids: string[] = [];
    for (const _start of ['first', 'second']) {
      const store = await open();
      ids.push(store.nodeId);
      await store.close();
    }
    expect(ids[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(ids[1]).toBe(ids[0]);
  });

  test('applies a new step of the schema once, and nothing of a step that fails in the middle', async () => {
    await createStore();
    const run = async (up: (db: Kysely<Record<string, never>>) => Promise<void>) => {
      const database = openDatabaseFile(path);
      const db = new Kysely<Record<string, never>>({
        dialect: sqliteDialect(database),
        plugins: [new CamelCasePlugin()],
      });
      try {
        await migrateToLatest(db, path, { ...migrations, '9999-test': { up } });
        return database.prepare("SELECT name FROM sqlite_schema WHERE name LIKE 'added%' ORDER BY name").all();
      } finally {
        database.close();
      }
    };
    const addTable = async (db: Kysely<Record<string, never>>, name: string) =>
      db.schema.createTable(name).addColumn('id', 'text').execute();
    await expect(
      run(async (db) => {
        await addTable(db, 'addedFirst');
        throw new RangeError('the power went');
      }),
    ).rejects.toThrow(new RangeError('the power went'));
    expect(await run((db) => addTable(db, 'addedSecond'))).toEqual([{ name: 'added_second' }]);
    expect(await run((db) => addTable(db, 'addedSecond'))).toEqual([{ name: 'added_second' }]);
  });
});

async function openInAnotherProcess(): Promise<void> {
  const child = new URL('./store-child.ts', import.meta.url).pathname;
  await promisify(execFile)(process.execPath, [child, 'open', path]);
}
