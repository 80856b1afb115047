/** What domain keys are needed for, counted over many keys while others write. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DomainKeyUses } from '../../src/daemon/domain-key-uses.ts';
import type { BackingKeyId, KeyId } from '../../src/kms/names.ts';
import type { RecordSource } from '../../src/store/record-source.ts';
import { added, removed } from '../../src/store/records/changes.ts';
import type { BackingKeyRecord } from '../../src/store/records/records.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { examples, formerRegion, testMacs } from '../store/records.ts';

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-uses-'));
const [former, current, fresh] = ['a', 'b', 'c'].map((digit) => digit.repeat(32)) as [
  BackingKeyId,
  BackingKeyId,
  BackingKeyId,
];
const [one, other] = ['us-east-1', 'eu-central-1'];
const shared = `mrk-${'0'.repeat(32)}` as KeyId;
const [elsewhere, replicated] = ['e'.repeat(32), 'f'.repeat(32)] as [BackingKeyId, BackingKeyId];
const materialCount = 300;

function material(number: number, members: Partial<BackingKeyRecord> = {}): BackingKeyRecord {
  const text = `${number}`.padStart(32, '0');
  return {
    ...{ ...examples.backingKey, regions: one, residency: 'wrapped', importedMaterialId: '', keyStore: 'default' },
    ...{ wrappedKey: Buffer.from(`blob ${number}`), backingKeyId: text as BackingKeyId, domainKeyId: current },
    keyId: `${text.slice(0, 8)}-0000-4000-8000-${text.slice(-12)}` as KeyId,
    ...members,
  };
}

const all: readonly BackingKeyRecord[] = [
  ...Array.from({ length: materialCount }, (_, number) => material(number)),
  material(materialCount, { domainKeyId: former, wrappedKey: null, residency: 'token' }),
  material(0, { backingKeyId: elsewhere, keyStore: 'leaver' }),
  material(0, { backingKeyId: replicated, keyId: shared, regions: `${other} ${one}` }),
];

let store: SqliteStore;
let source: RecordSource;
let turns: Turns;

/** Rows have whatever numbers somebody gave them who edited the file; their MACs say nothing of these. */
const edits = `
  update backing_key set rowid = rowid + 4611686018427387904 where rowid > 100 and rowid < 250;
  update backing_key set rowid = 9223372036854775807 where rowid = 250;
  update backing_key set rowid = -9223372036854775808 where rowid = 1;
  update backing_key set rowid = -5 where rowid = 2;
`;

beforeAll(async () => {
  const options = { path: join(folder, 'metadata.db'), macs: testMacs, formerRegion };
  store = await openSqliteStore(options);
  await store.write([...all.map((record) => added('backingKey', record)), added('key', examples.key)]);
  await store.close();
  const file = new DatabaseSync(options.path);
  file.exec(edits);
  file.close();
  store = await openSqliteStore(options);
  const begun = await store.begin(0);
  if (begun.source === undefined) throw new Error('all records are in memory');
  source = begun.source;
  turns = new Turns(store);
});

afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

/** Two Regions, of which the second uses what is shared in `leaver`. */
function uses(from: 'disk' | 'memory', read: () => void = () => undefined): DomainKeyUses {
  const noted: RecordSource = Object.create(source, {
    wrapped: {
      value: (...page: Parameters<RecordSource['wrapped']>) => {
        read();
        return source.wrapped(...page);
      },
    },
  });
  const regions = [one, other].map((region) => {
    const servingName = ({ keyId, keyStore }: BackingKeyRecord): string =>
      keyId === shared && region === other ? 'leaver' : keyStore;
    const keys = all.filter((record) => record.regions.split(' ').includes(region ?? ''));
    const key = (record: BackingKeyRecord) => ({ record: { keyId: record.keyId }, materials: [record] });
    return {
      directory: {
        ...{ realm: { region }, keyStores: { servingName }, source: from === 'disk' ? noted : undefined },
        all: () => keys.map(key),
      },
    };
  });
  // The part of directories that it takes.
  return new DomainKeyUses(regions as never, turns);
}

test.each(['disk', 'memory'] as const)('is how much of it there is, and in which key stores (%s)', async (from) => {
  using counted = await uses(from).count();
  expect([former, current, fresh].map(counted.under)).toEqual([0, materialCount + 2, 0]);
  expect(['default', 'leaver', 'none'].map((name) => counted.usedIn(name)(current))).toEqual([materialCount + 1, 2, 0]);
  expect(['default', 'leaver', 'none'].map((name) => counted.sharedWith(name))).toEqual([[shared], [shared], []]);
});

test('others have their turn after each 64 records, and what they wrap under a domain key is counted', async () => {
  let pages = 0;
  let turnsOfOthers = 0;
  const written: Promise<unknown>[] = [];
  const made = material(materialCount + 1, { domainKeyId: fresh });
  const counting = uses('disk', () => pages++);
  const count = counting.count();
  const others = (): void => {
    if (++turnsOfOthers === 2)
      written.push(
        turns.take(() => ({ changes: [added('backingKey', made)], response: undefined }), { isQuiet: true }),
      );
    if (pages < materialCount / 64) setImmediate(others);
  };
  setImmediate(others);
  using counted = await count;
  await Promise.all(written);
  expect(pages).toBeGreaterThan(materialCount / 64);
  expect(turnsOfOthers).toBeGreaterThan(materialCount / 64 - 1);
  expect(counted.under(fresh)).toBeGreaterThan(0);
  // It is never less than there is, though what was removed is counted still.
  await turns.take(() => ({ changes: [removed('backingKey', made)], response: undefined }), { isQuiet: true });
  expect(counted.under(fresh)).toBeGreaterThan(0);
  using again = await counting.count();
  expect(again.under(fresh)).toBe(0);
});

test('what is written in the turn before is counted, and nothing after its end', async () => {
  const counting = uses('memory');
  const counted = await counting.count();
  const made = material(materialCount + 2, { domainKeyId: fresh });
  const write = (change: Parameters<typeof added<'backingKey'>>[1] | undefined) =>
    turns.take(
      () => ({ changes: [change ? added('backingKey', change) : removed('backingKey', made)], response: undefined }),
      { isQuiet: true },
    );
  await write(made);
  expect(counted.under(fresh)).toBe(1);
  counted[Symbol.dispose]();
  await write(undefined);
  await write(made);
  expect(counted.under(fresh)).toBe(1);
  await write(undefined);
});
