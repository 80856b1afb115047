/** Rows that an earlier version wrote, with fewer members than records have now. `load` writes them anew. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LoadedMetadata } from '../../src/store/metadata-store.ts';
import { toColumns } from '../../src/store/record-columns.ts';
import { canonicalRecord } from '../../src/store/record-mac.ts';
import { replaced } from '../../src/store/records/changes.ts';
import type { MetadataRecords, RecordKind } from '../../src/store/records/records.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { type AnyPut, addedAny, aliasPut, asPuts, conflict, examples, formerRegion, testMac } from './records.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  path = join(folder, 'metadata.db');
});
afterEach(() => rmSync(folder, { recursive: true }));

const edited = 'its MAC does not verify: it was edited or damaged';
const superseded = 'a later version of it is on record';

interface Format {
  readonly kind: RecordKind;
  readonly table: string;
  readonly format: number;
  /** What a row of it lacks, as members, and what the migration puts in their columns. */
  readonly lacks: Readonly<Record<string, string | number>>;
  /** Of a column, to a value that parses, so that the MAC alone is in its way. */
  readonly edit: string;
}

const regional = { region: '', version: 1 };
/** Every format that a released version wrote, but today's. */
const formerFormats: readonly Format[] = [
  { kind: 'key', table: 'kms_key', format: 1, lacks: { ...regional, deletionDateMs: 0 }, edit: "state = 'Disabled'" },
  {
    kind: 'backingKey',
    table: 'backing_key',
    format: 1,
    lacks: { publicKey: '', version: 1, owner: '' },
    edit: 'reserved_encryptions = 0',
  },
  {
    kind: 'backingKey',
    table: 'backing_key',
    format: 2,
    lacks: { version: 1, owner: '' },
    edit: 'reserved_encryptions = 0',
  },
  { kind: 'keyPolicy', table: 'key_policy', format: 1, lacks: regional, edit: "document = '{}'" },
  { kind: 'alias', table: 'alias', format: 1, lacks: regional, edit: 'updated_at_ms = 1' },
  { kind: 'grant', table: 'key_grant', format: 1, lacks: regional, edit: "name = 'other'" },
  { kind: 'accessKey', table: 'access_key', format: 1, lacks: { version: 1 }, edit: "sealed_secret = 'AAAA'" },
];
const cases = formerFormats.map((format) => [`${format.kind}, format ${format.format}`, format] as const);
const [backingKey1, alias1] = [find('backingKey', 1), find('alias', 1)];

function find(kind: RecordKind, format: number): Format {
  const found = formerFormats.find((each) => each.kind === kind && each.format === format);
  if (found === undefined) throw new Error(`${kind} has no format ${format}`);
  return found;
}

/** The example of the kind as such a row can tell it. */
function exampleOf({ kind, lacks }: Format): AnyPut {
  const record: MetadataRecords[RecordKind] = examples[kind];
  return addedAny(kind, 'publicKey' in lacks ? { ...examples.backingKey, publicKey: null } : record);
}

/** Leaves the records as a version with that format did: written today, then taken back, MAC and all. */
async function writeFormer(format: Format, puts: readonly AnyPut[] = [exampleOf(format)]): Promise<void> {
  const store = await openSqliteStore({ path, mac: testMac, formerRegion });
  await store.write(puts);
  await store.close();
  const database = new DatabaseSync(path);
  database.exec('BEGIN');
  for (const put of puts) await takeBack(database, format, put);
  database.exec('COMMIT');
  database.close();
}

async function takeBack(database: DatabaseSync, { kind, table, format, lacks }: Format, put: AnyPut): Promise<void> {
  const own = Object.entries(toColumns(kind, put.record)).filter(([name]) => !(name in lacks));
  const mac = (await testMac(canonicalRecord(kind, Object.fromEntries(own), format))).toString('hex');
  const columns = Object.entries({ ...lacks, format, mac });
  const [id, value] = own.find(([name]) => name === idOf[kind]) ?? ['', ''];
  const assignments = columns.map(([name]) => `${snakeCase(name)} = ?`).join(', ');
  database
    .prepare(`UPDATE ${table} SET ${assignments} WHERE ${snakeCase(id)} = ?`)
    .run(...columns.map(([, column]) => column), value);
}

const idOf: Readonly<Record<RecordKind, string>> = {
  key: 'keyId',
  backingKey: 'backingKeyId',
  keyPolicy: 'keyId',
  alias: 'aliasName',
  grant: 'grantId',
  accessKey: 'accessKeyId',
};

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

async function load(region = formerRegion, progress?: (written: number, total: number) => void) {
  const store = await openSqliteStore({ path, mac: testMac, formerRegion: region });
  try {
    return await store.load(progress);
  } finally {
    await store.close();
  }
}

function run(sql: string): void {
  const database = new DatabaseSync(path);
  database.exec(sql);
  database.close();
}

function rows(sql: string): Record<string, SQLOutputValue>[] {
  const database = new DatabaseSync(path);
  const found = database.prepare(sql).all();
  database.close();
  return found;
}

function reasons({ quarantined }: LoadedMetadata): readonly string[] {
  return quarantined.map(({ reason }) => reason);
}

describe('a record of a former format', () => {
  test.each(cases)('is read with the Region of its time and version 1: %s', async (_name, format) => {
    await writeFormer(format);
    const loaded = await load();
    expect(loaded.quarantined).toEqual([]);
    expect(asPuts(loaded)).toEqual([exampleOf(format)]);
  });

  test.each(cases)('is written anew, once, as if it had been put today: %s', async (_name, format) => {
    await writeFormer(format);
    const former = rows(`SELECT * FROM ${format.table}`);
    const told: number[][] = [];
    await load(formerRegion, (...progress) => told.push(progress));
    expect(told).toEqual([[1, 1]]);
    const anew = rows(`SELECT * FROM ${format.table}`);
    expect(anew).not.toEqual(former);

    rmSync(path);
    const store = await openSqliteStore({ path, mac: testMac, formerRegion });
    await store.write([exampleOf(format)]);
    await store.close();
    expect(anew).toEqual(rows(`SELECT * FROM ${format.table}`));
    expect(asPuts(await load('eu-west-1', (...progress) => told.push(progress)))).toEqual([exampleOf(format)]);
    expect(told).toHaveLength(1);
  });

  test.each(cases)('is changed by whoever saw its version 1: %s', async (_name, format) => {
    await writeFormer(format);
    const store = await openSqliteStore({ path, mac: testMac, formerRegion });
    await store.load();
    const { put, record } = exampleOf(format);
    await store.write([replaced(put, record, {})]);
    await expect(store.write([replaced(put, record, {})])).rejects.toMatchObject(conflict);
    await store.close();
    expect(asPuts(await load())).toEqual([addedAny(put, { ...record, version: 2 })]);
  });

  test.each(cases)('is refused, and given no fresh MAC, when it was edited: %s', async (_name, format) => {
    await writeFormer(format);
    run(`UPDATE ${format.table} SET ${format.edit}`);
    const before = rows(`SELECT * FROM ${format.table}`);
    for (const _start of ['first', 'second']) {
      const loaded = await load();
      expect(asPuts(loaded)).toEqual([]);
      const region = 'region' in format.lacks ? formerRegion : null;
      expect(loaded.quarantined).toMatchObject([{ kind: format.kind, region, reason: edited }]);
    }
    expect(rows(`SELECT * FROM ${format.table}`)).toEqual(before);
  });

  const added = formerFormats.flatMap((format) =>
    Object.keys(format.lacks).map((member) => [member, `${format.kind}, format ${format.format}`, format] as const),
  );
  const values: Readonly<Record<string, string>> = {
    region: `'${formerRegion}'`,
    version: '2',
    owner: "'me'",
    publicKey: "'MCowBQYDK2Vw'",
    deletionDateMs: '1',
  };
  test.each(added)('is refused when it has its %s, which its MAC does not cover: %s', async (member, _name, format) => {
    await writeFormer(format);
    run(`UPDATE ${format.table} SET ${snakeCase(member)} = ${values[member]}`);
    const loaded = await load();
    expect(asPuts(loaded)).toEqual([]);
    expect(reasons(loaded)).toEqual([edited]);
  });

  test.each(cases)('is refused when it is called one of another format: %s', async (_name, format) => {
    await writeFormer(format);
    for (const other of [0, 1, 2, 3].filter((each) => each !== format.format)) {
      run(`UPDATE ${format.table} SET format = ${other}`);
      const loaded = await load();
      expect(asPuts(loaded)).toEqual([]);
      expect(loaded.quarantined).toHaveLength(1);
    }
  });

  const inRegions = cases.filter(([, { lacks }]) => 'region' in lacks);
  test.each(inRegions)('is refused when it is put back beside the one that it became: %s', async (_name, format) => {
    await writeFormer(format);
    const [former = {}] = rows(`SELECT * FROM ${format.table}`);
    await load();
    const store = await openSqliteStore({ path, mac: testMac, formerRegion });
    const { put, record } = exampleOf(format);
    await store.write([replaced(put, record, {})]);
    await store.close();
    const database = new DatabaseSync(path);
    const columns = Object.keys(former);
    database
      .prepare(`INSERT INTO ${format.table} (${columns.join()}) VALUES (${columns.map(() => '?').join()})`)
      .run(...Object.values(former));
    database.close();
    for (const _start of ['first', 'second']) {
      const loaded = await load();
      expect(asPuts(loaded)).toEqual([addedAny(put, { ...record, version: 2 })]);
      expect(loaded.quarantined).toMatchObject([{ kind: format.kind, region: '', reason: superseded }]);
    }
  });
});

describe('records of former formats, when there are many', () => {
  const names = Array.from({ length: 2_500 }, (_, index) => `n${index}`);
  const counts = (): readonly unknown[] =>
    rows('SELECT format, count(*) AS count FROM alias GROUP BY format ORDER BY format').map(({ format, count }) => [
      format,
      count,
    ]);
  beforeEach(() =>
    writeFormer(
      alias1,
      names.map((name) => aliasPut(name)),
    ),
  );

  test('are written anew in several transactions, each of which is told of', async () => {
    const told: number[][] = [];
    const loaded = await load(formerRegion, (...progress) => told.push(progress));
    expect(told).toEqual([
      [1_000, 2_500],
      [2_000, 2_500],
      [2_500, 2_500],
    ]);
    expect(loaded.alias).toHaveLength(2_500);
    expect(counts()).toEqual([[2, 2_500]]);
  });

  test('are finished by the next start where a process was killed between two of the transactions', async () => {
    const child = new URL('./store-child.ts', import.meta.url).pathname;
    const { signal } = spawnSync(process.execPath, [child, 'load-halfway', path], { stdio: 'inherit' });
    expect(signal).toBe('SIGKILL');
    expect(counts()).toEqual([
      [1, 1_500],
      [2, 1_000],
    ]);
    const told: number[][] = [];
    const loaded = await load(formerRegion, (...progress) => told.push(progress));
    expect(told).toEqual([
      [1_000, 1_500],
      [1_500, 1_500],
    ]);
    expect(loaded.quarantined).toEqual([]);
    expect(loaded.alias).toHaveLength(2_500);
    expect(new Set(loaded.alias.map(({ region, version }) => `${region} ${version}`))).toEqual(
      new Set([`${formerRegion} 1`]),
    );
    expect(counts()).toEqual([[2, 2_500]]);
  });

  test('are finished by the next load where the HSM went away in the middle, and not in another Region', async () => {
    let macs = 0;
    const store = await openSqliteStore({
      path,
      formerRegion,
      async mac(data) {
        // Every row is verified, then written anew.
        if (++macs > 2_500 + 1_200) throw new RangeError('the HSM is away');
        return testMac(data);
      },
    });
    await expect(store.load()).rejects.toThrow(new RangeError('the HSM is away'));
    await store.close();
    const halfway = [
      [1, 1_500],
      [2, 1_000],
    ];
    expect(counts()).toEqual(halfway);
    const elsewhere = await load('eu-west-1').catch((error: unknown) => error);
    expect(elsewhere).toMatchObject({
      name: 'StoreError',
      failure: 'otherRegion',
      message: `\`${path}\` has records of the Region \`us-east-1\`, and others that have yet to follow them there, not to \`eu-west-1\`; set \`region: us-east-1\``,
    });
    expect(counts()).toEqual(halfway);
    expect((await load()).alias).toHaveLength(2_500);
    expect(counts()).toEqual([[2, 2_500]]);
  });
});

describe('a public key', () => {
  test.each([
    ['is no base64', '!!!!'],
    ['has a stray bit at its end', 'MB=='],
    ['has a line end in it', 'MCow\nBQYDK2Vw'],
  ])('that %s is no write of ours', async (_what, column) => {
    await writeFormer(backingKey1);
    await load();
    run(`UPDATE backing_key SET public_key = '${column}'`);
    expect(reasons(await load())).toEqual(['its member publicKey has a value that nothing here writes']);
  });

  test('is covered by the MAC of a backing key that was written before there were any and put again', async () => {
    await writeFormer(backingKey1);
    const store = await openSqliteStore({ path, mac: testMac, formerRegion });
    const { backingKey } = await store.load();
    expect(backingKey).toEqual([{ ...examples.backingKey, publicKey: null }]);
    await store.write(
      backingKey.map((record) => replaced('backingKey', record, { publicKey: examples.backingKey.publicKey })),
    );
    await store.close();
    expect((await load()).backingKey).toEqual([{ ...examples.backingKey, version: 2 }]);
    run("UPDATE backing_key SET public_key = ''");
    expect(reasons(await load())).toEqual([edited]);
  });
});
