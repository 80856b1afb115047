/** Rows that an earlier version wrote, with fewer members than records have now. `load` writes them anew. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ColumnValue } from '../../src/store/column-member.ts';
import type { LoadedMetadata } from '../../src/store/metadata-store.ts';
import { recordKinds, toColumns } from '../../src/store/record-columns.ts';
import { newestFormat, type RecordFormats, recordFormats } from '../../src/store/record-mac.ts';
import { replaced } from '../../src/store/records/changes.ts';
import type { RecordKind } from '../../src/store/records/records.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import {
  exampleOf,
  type Format,
  formerFormat,
  formersOf,
  nextFormats,
  otherColumn,
  snakeCase,
  writeFormer,
} from './former-rows.ts';
import {
  type AnyPut,
  addedAny,
  aliasPut,
  asPuts,
  conflict,
  eachByItself,
  examples,
  formerRegion,
  removeRoot,
  testMac,
  testMacs,
} from './records.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  path = join(folder, 'metadata.db');
});
afterEach(() => rmSync(folder, { recursive: true }));

const edited = 'its MAC does not verify: it was edited or damaged';
const superseded = 'a later version of it is on record';

/** Of a column of each kind that stands in every format, to a value that parses, so that the MAC alone is in its way. */
const edits = {
  key: "state = 'Disabled'",
  backingKey: 'reserved_encryptions = 0',
  keyPolicy: "key_id = '99999999-2222-3333-4444-555555555555'",
  alias: 'created_at_ms = 1',
  grant: "issuing_account = '111122223333'",
  accessKey: "sealed_secret = 'AAAA'",
  tombstone: 'deleted_at_ms = 1',
  lastUse: 'used_at_ms = 1',
  wrappingKey: 'valid_to_ms = 1',
  customKeyStore: "connection = 'CONNECTED'",
  milestone: 'reached_at_ms = 1',
  upkeepWait: 'ran_ms = 1',
  domainKey: 'created_at_ms = 1',
  remnant: 'created_at_ms = 1',
  member: 'left_under = 0',
} as const satisfies Record<RecordKind, string>;

const cases = [
  ...formersOf(recordFormats).map((format) => [`${format.kind}, format ${format.format}`, format] as const),
  // Of the version after it today's formats alone, which are no former ones yet.
  ...recordKinds.map((kind) => {
    const format = formerFormat(kind, newestFormat(recordFormats[kind]), nextFormats);
    return [`${kind}, format ${format.format}, by a version with one format more`, format] as const;
  }),
];
const [backingKey1, alias1] = [formerFormat('backingKey', 1), formerFormat('alias', 1)];
const newestAlias = newestFormat(recordFormats.alias);

const write = (format: Format, puts: readonly AnyPut[]): Promise<void> => writeFormer(path, format, puts);

/** The files with the example of each format, which every test of it begins with: to make one takes all steps of the schema. */
const examplesWritten = new Map<Format, Buffer>();
async function writeExample(format: Format): Promise<void> {
  const written = examplesWritten.get(format);
  if (written !== undefined) return writeFileSync(path, written, { mode: 0o600 });
  await write(format, [exampleOf(format)]);
  examplesWritten.set(format, readFileSync(path));
}

const open = (formats = recordFormats, region = formerRegion) =>
  openSqliteStore({ path, macs: testMacs, formerRegion: region, formats });

async function load(
  region = formerRegion,
  progress?: (written: number, total: number) => void,
  formats: RecordFormats = recordFormats,
) {
  const store = await open(formats, region);
  try {
    return await store.load(progress);
  } finally {
    await store.close();
  }
}

function run(sql: string, ...values: readonly ColumnValue[]): void {
  const database = new DatabaseSync(path);
  database.prepare(sql).run(...values);
  removeRoot(database);
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
    await writeExample(format);
    const loaded = await load(formerRegion, undefined, format.formats);
    expect(loaded.quarantined).toEqual([]);
    expect(asPuts(loaded)).toEqual([exampleOf(format)]);
  });

  test.each(cases)('is written anew, once, as if it had been put today: %s', async (_name, format) => {
    await writeExample(format);
    const former = rows(`SELECT * FROM ${format.table}`);
    const told: number[][] = [];
    await load(formerRegion, (...progress) => told.push(progress), format.formats);
    expect(told).toEqual([[1, 1]]);
    const anew = rows(`SELECT * FROM ${format.table}`);
    expect(anew).not.toEqual(former);

    rmSync(path);
    const store = await open(format.formats);
    await store.write([exampleOf(format)]);
    await store.close();
    expect(anew).toEqual(rows(`SELECT * FROM ${format.table}`));
    expect(asPuts(await load('eu-west-1', (...progress) => told.push(progress), format.formats))).toEqual([
      exampleOf(format),
    ]);
    expect(told).toHaveLength(1);
  });

  test.each(cases)('is changed by whoever saw its version 1: %s', async (_name, format) => {
    await writeExample(format);
    const store = await open(format.formats);
    await store.load();
    const { put, record } = exampleOf(format);
    await store.write([replaced(put, record, {})]);
    await expect(store.write([replaced(put, record, {})])).rejects.toMatchObject(conflict);
    await store.close();
    expect(asPuts(await load(formerRegion, undefined, format.formats))).toEqual([
      addedAny(put, { ...record, version: 2 }),
    ]);
  });

  test.each(cases)('is refused, and given no fresh MAC, when it was edited: %s', async (_name, format) => {
    await writeExample(format);
    run(`UPDATE ${format.table} SET ${edits[format.kind]}`);
    const before = rows(`SELECT * FROM ${format.table}`);
    for (const _start of ['first', 'second']) {
      const loaded = await load(formerRegion, undefined, format.formats);
      expect(asPuts(loaded)).toEqual([]);
      const region = 'region' in toColumns(format.kind, examples[format.kind]) ? formerRegion : null;
      expect(loaded.quarantined).toMatchObject([{ kind: format.kind, region, reason: edited }]);
    }
    expect(rows(`SELECT * FROM ${format.table}`)).toEqual(before);
  });

  const added = cases.flatMap(([name, format]) =>
    Object.keys(format.lacks).map((member) => [member, name, format] as const),
  );
  test.each(added)('is refused when it has its %s, which its MAC does not cover: %s', async (member, _name, format) => {
    await writeExample(format);
    run(`UPDATE ${format.table} SET ${snakeCase(member)} = ?`, otherColumn(format, member));
    const loaded = await load(formerRegion, undefined, format.formats);
    expect(asPuts(loaded)).toEqual([]);
    expect(reasons(loaded)).toEqual([edited]);
  });

  test.each(cases)('is refused when it is called one of another format: %s', async (_name, format) => {
    await writeExample(format);
    const numbers = Array.from({ length: newestFormat(format.formats[format.kind]) + 2 }, (_, number) => number);
    for (const other of numbers.filter((each) => each !== format.format)) {
      run(`UPDATE ${format.table} SET format = ${other}`);
      const loaded = await load(formerRegion, undefined, format.formats);
      expect(asPuts(loaded)).toEqual([]);
      expect(loaded.quarantined).toHaveLength(1);
    }
  });

  const inRegions = cases.filter(([, { lacks }]) => 'region' in lacks);
  test.each(inRegions)('is refused when it is put back beside the one that it became: %s', async (_name, format) => {
    await writeExample(format);
    const [former = {}] = rows(`SELECT * FROM ${format.table}`);
    await load(formerRegion, undefined, format.formats);
    const store = await open(format.formats);
    const { put, record } = exampleOf(format);
    await store.write([replaced(put, record, {})]);
    await store.close();
    const database = new DatabaseSync(path);
    const columns = Object.keys(former);
    database
      .prepare(`INSERT INTO ${format.table} (${columns.join()}) VALUES (${columns.map(() => '?').join()})`)
      .run(...Object.values(former));
    removeRoot(database);
    database.close();
    for (const _start of ['first', 'second']) {
      const loaded = await load(formerRegion, undefined, format.formats);
      expect(asPuts(loaded)).toEqual([addedAny(put, { ...record, version: 2 })]);
      expect(loaded.quarantined).toMatchObject([{ kind: format.kind, region: '', reason: superseded }]);
    }
  });
});

describe('a record of today, for a version with one format more', () => {
  const regionalKinds = recordKinds.filter((kind) => 'region' in examples[kind]);
  const today = (kind: RecordKind) => formerFormat(kind, newestFormat(recordFormats[kind]), nextFormats);

  test.each(regionalKinds)('stays in its Region, whichever the daemon is of: %s', async (kind) => {
    const { record } = exampleOf(today(kind));
    const puts = [
      addedAny(kind, { ...record, region: 'eu-west-1', version: 3 }),
      addedAny(kind, { ...record, region: 'us-west-2', version: 4 }),
    ];
    await write(today(kind), puts);
    const told: number[][] = [];
    for (const region of ['ap-south-1', 'eu-west-1']) {
      const loaded = await load(region, (...progress) => told.push(progress), nextFormats);
      expect(loaded.quarantined).toEqual([]);
      expect(asPuts(loaded)).toEqual(puts);
    }
    expect(told).toEqual([[2, 2]]);
  });

  test('tells in which Region those come that have none yet, and stays in its own', async () => {
    const [former, other] = [formerFormat('alias', 1, nextFormats), today('key')];
    const key = addedAny('key', { ...exampleOf(other).record, region: 'eu-west-1' });
    await writeExample(former);
    await write(other, [key]);
    const elsewhere = await load('us-west-2', undefined, nextFormats).catch((error: unknown) => error);
    expect(elsewhere).toMatchObject({ name: 'StoreError', failure: 'otherRegion' });
    const loaded = await load('eu-west-1', undefined, nextFormats);
    expect(loaded.quarantined).toEqual([]);
    expect(loaded.key).toEqual([key.record]);
    expect(loaded.alias).toMatchObject([{ region: 'eu-west-1' }]);
  });

  test('is written anew where the other kinds have no format more, by a daemon of another Region, too', async () => {
    const formats = { ...recordFormats, key: nextFormats.key };
    const format = { ...today('key'), formats };
    await writeExample(format);
    const store = await open(formats);
    await store.write([addedAny('alias', examples.alias)]);
    await store.close();
    const loaded = await load('ap-south-1', undefined, formats);
    expect(loaded.quarantined).toEqual([]);
    expect(asPuts(loaded)).toEqual([addedAny('alias', examples.alias), exampleOf(format)]);
  });
});

describe('records of former formats, when there are many', () => {
  const many = Array.from({ length: 2_500 }, (_, index) => aliasPut(`n${index}`));
  const counts = (): readonly unknown[] =>
    rows('SELECT format, count(*) AS count FROM alias GROUP BY format ORDER BY format').map(({ format, count }) => [
      format,
      count,
    ]);
  beforeEach(() => write(alias1, many));

  test('are written anew in several transactions, each of which is told of', async () => {
    const told: number[][] = [];
    const loaded = await load(formerRegion, (...progress) => told.push(progress));
    expect(told).toEqual([
      [1_000, 2_500],
      [2_000, 2_500],
      [2_500, 2_500],
    ]);
    expect(loaded.alias).toHaveLength(2_500);
    expect(counts()).toEqual([[newestAlias, 2_500]]);
  });

  test('are written anew some at a time where not all are read, but for those that do not verify', async () => {
    const format = formerFormat('alias', newestAlias, nextFormats);
    rmSync(path);
    await write(format, many);
    const before = await open(format.formats);
    await before.write([addedAny('key', examples.key)]);
    await before.close();
    run("UPDATE alias SET created_at_ms = 1 WHERE alias_name = 'alias/n1500'");
    const told: number[][] = [];
    const store = await open(format.formats);
    const { loaded, source } = await store.begin(0, (...progress) => told.push(progress));
    await store.close();
    expect(source).toBeDefined();
    expect(loaded.alias).toEqual([]);
    expect(told).toEqual([
      [1_000, 2_500],
      [1_999, 2_500],
      [2_499, 2_500],
    ]);
    const newest = newestFormat(format.formats.alias);
    expect(counts()).toEqual([
      [newest - 1, 1],
      [newest, 2_499],
    ]);
  });

  test('are finished by the next start where a process was killed between two of the transactions', async () => {
    const child = new URL('./store-child.ts', import.meta.url).pathname;
    const { signal } = spawnSync(process.execPath, [child, 'load-halfway', path], { stdio: 'inherit' });
    expect(signal).toBe('SIGKILL');
    expect(counts()).toEqual([
      [1, 1_500],
      [newestAlias, 1_000],
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
    expect(counts()).toEqual([[newestAlias, 2_500]]);
  });

  test('are finished by the next load where the HSM went away in the middle, and not in another Region', async () => {
    let macs = 0;
    const store = await openSqliteStore({
      path,
      formerRegion,
      macs: eachByItself(async (data) => {
        // Every row is verified, then written anew.
        if (++macs > 2_500 + 1_200) throw new RangeError('the HSM is away');
        return testMac(data);
      }),
    });
    await expect(store.load()).rejects.toThrow(new RangeError('the HSM is away'));
    await store.close();
    const halfway = [
      [1, 1_500],
      [newestAlias, 1_000],
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
    expect(counts()).toEqual([[newestAlias, 2_500]]);
  });
});

describe('a public key', () => {
  test.each([
    ['is no base64', '!!!!'],
    ['has a stray bit at its end', 'MB=='],
    ['has a line end in it', 'MCow\nBQYDK2Vw'],
  ])('that %s is no write of ours', async (_what, column) => {
    await writeExample(backingKey1);
    await load();
    run(`UPDATE backing_key SET public_key = '${column}'`);
    expect(reasons(await load())).toEqual(['its member publicKey has a value that nothing here writes']);
  });

  test('is covered by the MAC of a backing key that was written before there were any and put again', async () => {
    await writeExample(backingKey1);
    const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
    const { backingKey } = await store.load();
    const older = exampleOf(backingKey1).record;
    expect(backingKey).toEqual([older]);
    await store.write(
      backingKey.map((record) => replaced('backingKey', record, { publicKey: examples.backingKey.publicKey })),
    );
    await store.close();
    const { publicKey } = examples.backingKey;
    expect((await load()).backingKey).toEqual([{ ...older, publicKey, version: 2 }]);
    run("UPDATE backing_key SET public_key = ''");
    expect(reasons(await load())).toEqual([edited]);
  });
});
