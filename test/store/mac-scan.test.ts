/** The pass over all rows at a start: whatever numbers somebody has given them, and whatever stands in the place of a MAC. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scanMacs } from '../../src/store/mac-scan.ts';
import { RecordSums } from '../../src/store/record-sum.ts';
import { added, removed, replaced } from '../../src/store/records/changes.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { aliasPut, examples, formerRegion, testMacs } from './records.ts';

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-mac-scan-'));
const path = join(folder, 'metadata.db');
const sums = new RecordSums(Buffer.alloc(32, 7));
const aliasCount = 9_000; // More than are put together at a time.
let database: DatabaseSync;

beforeAll(async () => {
  const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
  await store.write([...Array.from({ length: aliasCount }, (_, index) => aliasPut(`n${index}`))]);
  await store.close();
  database = new DatabaseSync(path);
});
afterAll(() => {
  database.close();
  rmSync(folder, { recursive: true });
});

const scan = (wanted = {}) => scanMacs(database, sums, path, { wanted });
/** One by one, as nobody could do with millions. */
const sumOfAll = (): bigint =>
  sums.sumOf(
    database
      .prepare('select mac from alias')
      .all()
      .map(({ mac }) => mac),
  );

/** What is edited is as before when it ends. */
function edited<Result>(sql: string, look: () => Result): Result {
  database.exec(`begin; ${sql}`);
  try {
    return look();
  } finally {
    database.exec('rollback');
  }
}

const [lowest, highest] = ['-9223372036854775808', '9223372036854775807'];

test.each([
  ['as they were written', 'select 1'],
  [
    'with numbers at both ends of all that there are',
    `update alias set rowid = case rowid when 1 then ${lowest} else ${highest} end where rowid <= 2`,
  ],
  ['with room between them', 'update alias set rowid = rowid * 100000 where rowid > 8990'],
])('counts and adds up all rows, %s', (_, edit) => {
  const { sum, count } = edited(edit, scan);
  expect([sum, count]).toEqual([sumOfAll(), aliasCount]);
});

test.each([
  ['removed', 'delete from alias where rowid = 8500'],
  [
    'put in capital letters',
    "update alias set mac = upper(mac) where mac = (select mac from alias where mac glob '*[a-f]*' limit 1)",
  ],
  ['bytes instead of text', 'update alias set mac = cast(mac as blob) where rowid = 8500'],
  [
    'a digit longer, and the one before it as much shorter',
    'update alias set mac = substr((select mac from alias where rowid = 8499), 64) || mac where rowid = 8500; update alias set mac = substr(mac, 1, 63) where rowid = 8499',
  ],
])('has another sum when a MAC is %s', (_, edit) => {
  const before = scan();
  const { sum, macs } = edited(edit, scan);
  expect(sum).not.toBe(before.sum);
  const mac = database.prepare('select mac from alias where rowid = 8600').get()?.['mac'];
  expect(macs.has(mac)).toBe(true);
});

test('tells where the rows are that are looked for, and goes by no index', () => {
  const wanted = { alias: "alias_name = 'alias/n17' or version = 5", key: 'true' };
  const places = (edit: string) => edited(edit, () => scan(wanted).wanted);
  expect(places('select 1').get('alias')).toEqual([{ first: 1n, last: 8192n }]);
  expect(places('select 1').get('key')).toEqual([]);
  const moved = places(`update alias set rowid = ${highest}, version = 5 where rowid = 3`).get('alias');
  expect(moved).toEqual([
    { first: 1n, last: 8192n },
    { first: BigInt(highest), last: BigInt(highest) },
  ]);
  expect(places('update alias set version = 5 where rowid = 9000').get('alias')).toEqual([
    { first: 1n, last: BigInt(aliasCount) },
  ]);
});

test('what people are told of the numbers of records is what there is, whatever was written since the start', async () => {
  const file = join(folder, 'counts.db');
  const store = await openSqliteStore({ path: file, macs: testMacs, formerRegion });
  const wrapped = { ...examples.backingKey, residency: 'wrapped', wrappedKey: Buffer.from('blob') };
  const idOf = (number: number) => `${number}`.padStart(32, '0') as typeof wrapped.backingKeyId;
  const material = (number: number, domainKeyId: number | null) =>
    added('backingKey', {
      ...wrapped,
      backingKeyId: idOf(number),
      domainKeyId: domainKeyId === null ? null : idOf(domainKeyId),
      wrappedKey: domainKeyId === null ? null : wrapped.wrappedKey,
    });
  const keyId = (number: number) => examples.key.keyId.replace(/.{8}$/, `${number}`.padStart(8, '0')) as never;
  const key = (number: number, nextRotationDateMs: number | null) =>
    ({ ...examples.key, keyId: keyId(number), state: 'Enabled', nextRotationDateMs }) as const;
  const [first, second] = [key(1, 1000), key(2, 3000)];
  await store.write([material(1, 7), material(2, 7), material(3, null), added('key', first), added('key', second)]);
  const { source, indexes } = await store.begin(0);
  const told = () => {
    const rotations = indexes.rotations;
    const counts = new Map<string, number>();
    for (const { keyStore, domainKeyId } of present(source).wrapped(0n, 100).records)
      counts.set(`${keyStore} ${domainKeyId}`, (counts.get(`${keyStore} ${domainKeyId}`) ?? 0) + 1);
    expect(indexes.wrappedUnder()).toEqual(counts);
    const later = rotations.between(first.region, { afterMs: 1000, untilMs: 5000 }, 10);
    expect(rotations.between(first.region, { afterMs: 0, untilMs: 5000 }, 1)).toHaveLength(1);
    return [rotations.count(first.region), later.length];
  };
  expect(told()).toEqual([2, 1]);
  const keysUnder = (place: string, domainKeyId: number) => indexes.keysUnder(place, idOf(domainKeyId), 100);
  expect([keysUnder(wrapped.keyStore, 7), keysUnder(wrapped.keyStore, 8)]).toEqual([[wrapped.keyId], []]);
  expect(keysUnder('another', 7)).toEqual([]);
  await store.write([material(4, 8), added('key', key(3, 2000)), added('key', key(4, null))]);
  expect(told()).toEqual([3, 2]);
  expect(keysUnder(wrapped.keyStore, 8)).toEqual([wrapped.keyId]);
  const disabled = replaced('key', second, { state: 'Disabled' });
  await store.write([disabled, removed('key', first)]);
  expect(told()).toEqual([1, 1]);
  await store.write([replaced('key', { ...second, state: 'Disabled', version: 2 }, { state: 'Enabled' })]);
  expect(told()).toEqual([2, 2]);
  await store.close();
});
