/** A load of many records: their MACs are asked for together, and each is judged by its own. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync, StatementSync } from 'node:sqlite';
import { CamelCasePlugin, Kysely } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { KeyId } from '../../src/kms/names.ts';
import type { Payer } from '../../src/kms/payer.ts';
import { onAccountOf } from '../../src/kms/paying.ts';
import type { BegunMetadata, LoadedMetadata, RecordMacs } from '../../src/store/metadata-store.ts';
import { type RecordSource, whenVerified } from '../../src/store/record-source.ts';
import { prepareChange, rewriting, type Tables } from '../../src/store/record-statements.ts';
import { sqliteDialect } from '../../src/store/sqlite-database.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { type AnyPut, addedAny, aliasPut, examples, formerRegion, testMacs } from './records.ts';

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-many-records-'));
const path = join(folder, 'metadata.db');
const aliasCount = 4_000;

/** The first of each Region and domain key is read at the start. */
const otherKeyId = '11111111-aaaa-3333-4444-555555555555' as KeyId;
const coldKeyId = '99999999-aaaa-3333-4444-555555555555' as KeyId;
const goingKeyId = '88888888-aaaa-3333-4444-555555555555' as KeyId;

function recordsOfKey(keyId: KeyId): readonly AnyPut[] {
  const [digit = ''] = keyId;
  const backingKeyId = digit.repeat(32) as typeof examples.backingKey.backingKeyId;
  return [
    addedAny('key', { ...examples.key, keyId, nextRotationDateMs: null, currentBackingKeyId: backingKeyId }),
    addedAny('keyPolicy', { ...examples.keyPolicy, keyId }),
    addedAny('backingKey', { ...examples.backingKey, keyId, backingKeyId, residency: 'wrapped' }),
    addedAny('alias', { ...examples.alias, keyId, aliasName: `alias/of-${digit}` as typeof examples.alias.aliasName }),
    addedAny('grant', { ...examples.grant, keyId, grantId: digit.repeat(64) as typeof examples.grant.grantId }),
  ];
}

beforeAll(async () => {
  const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
  const policies = Array.from({ length: 300 }, (_, index): AnyPut => {
    const keyId = `${String(index).padStart(8, '0')}-2222-3333-4444-555555555555` as typeof examples.key.keyId;
    // Every other one differs; among the others there is one text, shared.
    const document = index % 2 === 0 ? examples.keyPolicy.document : `${examples.keyPolicy.document} ${index} ünïcode`;
    return addedAny('keyPolicy', { ...examples.keyPolicy, keyId, document });
  });
  await store.write([...Array.from({ length: aliasCount }, (_, index) => aliasPut(`n${index}`)), ...policies]);
  await store.write([otherKeyId, coldKeyId, goingKeyId].flatMap(recordsOfKey));
  await store.close();
});
afterAll(() => rmSync(folder, { recursive: true }));

async function load(macs: RecordMacs): Promise<LoadedMetadata> {
  const store = await openSqliteStore({ path, macs, formerRegion });
  try {
    return await store.load();
  } finally {
    await store.close();
  }
}

function edit(sql: string): void {
  const database = new DatabaseSync(path);
  database.exec(sql);
  database.close();
}

test('has its MACs computed in few calls, and gives all records', async () => {
  const batches: number[] = [];
  const loaded = await load(async (messages) => {
    batches.push(messages.length);
    await new Promise((resolve) => setImmediate(resolve));
    return testMacs(messages);
  });
  expect(batches.reduce((sum, each) => sum + each, 0)).toBe(aliasCount + 300 + 15 + 1); // And the key of the root.
  expect(batches.length).toBeLessThan(50);
  const names = loaded.alias.map(({ aliasName }) => aliasName).sort();
  expect(names).toEqual(
    [
      ...Array.from({ length: aliasCount }, (_, index) => `alias/n${index}`),
      'alias/of-1',
      'alias/of-8',
      'alias/of-9',
    ].sort(),
  );
  const policies = loaded.keyPolicy
    .filter(({ keyId }) => keyId.includes('-2222-'))
    .sort((one, other) => (one.keyId < other.keyId ? -1 : 1));
  expect(policies.map(({ document }) => document)).toEqual(
    Array.from({ length: 300 }, (_, index) =>
      index % 2 === 0 ? examples.keyPolicy.document : `${examples.keyPolicy.document} ${index} ünïcode`,
    ),
  );
  expect(loaded.quarantined).toEqual([]);
});

test('quarantines each record that was edited, wherever it stands, and no other', async () => {
  const names = ['alias/n0', 'alias/n1127', 'alias/n128', 'alias/n999'];
  const list = names.map((name) => `'${name}'`).join(', ');
  edit(`UPDATE alias SET updated_at_ms = updated_at_ms + 7 WHERE alias_name IN (${list})`);
  try {
    const loaded = await load(testMacs);
    expect(loaded.quarantined.map(({ id }) => id).sort()).toEqual(names);
    expect(loaded.alias).toHaveLength(aliasCount + 3 - names.length);
    expect(loaded.alias.some(({ aliasName }) => names.includes(aliasName))).toBe(false);
  } finally {
    edit(`UPDATE alias SET updated_at_ms = updated_at_ms - 7 WHERE alias_name IN (${list})`);
  }
  expect((await load(testMacs)).quarantined).toEqual([]);
});

test('takes no record for verified when the MACs come in another order, or are fewer', async () => {
  const reversed = await load(async (messages) => [...(await testMacs(messages))].reverse());
  expect(reversed.alias.length).toBeLessThan(aliasCount / 100);
  await expect(load(async (messages) => (await testMacs(messages)).slice(1))).rejects.toThrow(
    /^\d+ MACs for \d+ messages$/,
  );
});

test('fails as a whole when the HSM goes away in the middle, and can be tried again', async () => {
  const store = await openSqliteStore({
    path,
    formerRegion,
    macs: async (messages) => {
      if (left-- === 0) throw new RangeError('the HSM is away');
      return testMacs(messages);
    },
  });
  let left = 3;
  await expect(store.load()).rejects.toThrow(new RangeError('the HSM is away'));
  expect((await store.load()).alias).toHaveLength(aliasCount + 3);
  await store.close();
});

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('it is there');
  return value;
}

describe('Records that are read when they are asked for', () => {
  /** Of each call to the HSM since they were begun, how many records it was about. */
  const calls: number[] = [];
  const waiting: (() => void)[] = [];
  let isHeld = false;
  let store: Awaited<ReturnType<typeof openSqliteStore>>;
  let source: RecordSource;
  let indexes: BegunMetadata['indexes'];

  beforeEach(async () => {
    store = await openSqliteStore({
      path,
      formerRegion,
      macs: async (messages) => {
        calls.push(messages.length);
        if (isHeld) await new Promise<void>((resolve) => waiting.push(resolve));
        return testMacs(messages);
      },
    });
    const begun = await store.begin(0);
    [source, indexes] = [present(begun.source), begun.indexes];
    calls.length = 0;
  });
  afterEach(() => store.close());

  const readKey = () => whenVerified(() => source.readKey(formerRegion, coldKeyId));
  const rest = ['alias', 'grant'] as const;

  test('are verified in one call, all of a key and its grant together', async () => {
    const found = await readKey();
    expect(found).toMatchObject({ key: { keyId: coldKeyId }, policy: { keyId: coldKeyId }, backingKeys: [{}] });
    expect(source.select('grant', { region: formerRegion, keyId: coldKeyId })).toHaveLength(1);
    expect(source.readKey(formerRegion, coldKeyId)).toEqual(found);
    expect(calls).toEqual([4]);
  });

  test('are read once, and not again when they are verified', async () => {
    const read = vi.spyOn(StatementSync.prototype, 'all');
    try {
      await readKey();
      // The rows of the key, and its grants.
      expect(read).toHaveBeenCalledTimes(2);
      await readKey();
      expect(read).toHaveBeenCalledTimes(3);
    } finally {
      read.mockRestore();
    }
  });

  test('are verified once for many requests of one payer, and for another payer by himself', async () => {
    isHeld = true;
    const many = Array.from({ length: 20 }, () => onAccountOf('uid 1' as Payer, readKey));
    await vi.waitFor(() => expect(waiting).toHaveLength(1), { timeout: 170_000 });
    // Others come while the HSM is at it.
    many.push(onAccountOf('uid 1' as Payer, readKey));
    const others = onAccountOf('uid 2' as Payer, readKey);
    await vi.waitFor(() => expect(waiting).toHaveLength(2), { timeout: 170_000 });
    isHeld = false;
    for (const go of waiting.splice(0)) go();
    for (const found of await Promise.all([...many, others])) expect(found?.key.keyId).toBe(coldKeyId);
    expect(calls).toEqual([4, 4]);
  });

  test('are refused where they were replaced while the HSM was at them', async () => {
    isHeld = true;
    const found = readKey();
    await vi.waitFor(() => expect(waiting).toHaveLength(1), { timeout: 170_000 });
    isHeld = false;
    const [key] = recordsOfKey(coldKeyId);
    const record = { ...(present(key).record as typeof examples.key), version: 2, description: 'another' };
    await store.write([{ put: 'key', record: record as never, replaces: 1 }]);
    for (const go of waiting.splice(0)) go();
    expect((await found)?.key.description).toBe('another');
    const back = { ...record, version: 3, description: examples.key.description };
    await store.write([{ put: 'key', record: back as never, replaces: 2 }]);
  });

  test('are with the grants that were made and retired while the HSM was at them', async () => {
    const records = recordsOfKey(coldKeyId).filter(({ put }) => put === 'grant');
    expect(records).toHaveLength(1);
    const removals = records.map(({ put, record }) => ({ remove: put, record }) as never);
    await store.write(removals);
    isHeld = true;
    const found = readKey();
    await vi.waitFor(() => expect(waiting).toHaveLength(1), { timeout: 170_000 });
    isHeld = false;
    await store.write(records);
    for (const go of waiting.splice(0)) go();
    expect((await found)?.hasGrants).toBe(true);
    await store.write(removals);
    expect((await readKey())?.hasGrants).toBe(false);
    await store.write(records);
  });

  test('are not there when their key was deleted while the HSM was at them', async () => {
    isHeld = true;
    const found = whenVerified(() => source.readKey(formerRegion, goingKeyId));
    await vi.waitFor(() => expect(waiting).toHaveLength(1), { timeout: 170_000 });
    isHeld = false;
    const records = recordsOfKey(goingKeyId);
    await store.write(records.map(({ put, record }) => ({ remove: put, record }) as never));
    for (const go of waiting.splice(0)) go();
    expect(await found).toBeUndefined();
    for (const kind of rest) expect(source.select(kind, { region: formerRegion, keyId: goingKeyId })).toEqual([]);
    expect(source.has('key', { region: formerRegion, keyId: goingKeyId })).toBe(false);
    // And whoever made it anew, by the same records, has it anew.
    await store.write(records);
    expect(await whenVerified(() => source.readKey(formerRegion, goingKeyId))).toMatchObject({ backingKeys: [{}] });
  });

  test('are verified a page of a list at a time', async () => {
    const page = await whenVerified(() => source.aliases(formerRegion, undefined, 100));
    expect(page).toMatchObject({ truncated: true, names: page.records.map(({ aliasName }) => aliasName) });
    expect(page.names).toHaveLength(100);
    expect(calls).toEqual([100]);
  });

  test('are found by an index, whatever is asked for, but for what goes through all of them a part at a time', async () => {
    const texts: string[] = [];
    const { prepare } = DatabaseSync.prototype;
    const spy = vi.spyOn(DatabaseSync.prototype, 'prepare').mockImplementation(function (this: DatabaseSync, text) {
      texts.push(text);
      return prepare.call(this, text);
    });
    const { backingKey, grant } = examples;
    const { keyId, keyStore } = backingKey;
    const [region, domainKeyId] = [formerRegion, '7'.repeat(32)];
    await readKey();
    await whenVerified(() => source.select('backingKey', { backingKeyId: backingKey.backingKeyId }));
    await whenVerified(() => source.select('lastUse', { region, keyId }));
    await whenVerified(() => source.aliases(region, 'alias/n1', 10));
    await whenVerified(() => source.materialsIn(keyStore));
    await whenVerified(() => source.wrappedOtherwise({ keyStore, region, domainKeyId }, 0n, 10));
    await whenVerified(() => source.wrapped(0n, 10));
    for (const kind of ['key', 'alias', 'grant'] as const) source.has(kind, { region, keyId });
    for (const named of [{ keyId }, { backingKeyId: backingKey.backingKeyId }]) source.has('backingKey', named);
    source.grantIds(region, grant.grantee, undefined, 10);
    source.keyIds(region, keyId, 10);
    indexes.keysUnder(keyStore, domainKeyId, 10);
    indexes.rotations.between(region, { afterMs: 0, untilMs: 1 }, 10);
    indexes.rotations.of(region, keyId);
    spy.mockRestore();
    const reads = [...new Set(texts)].filter((text) => text.startsWith('select'));
    expect(reads.length).toBeGreaterThan(15);
    await store.close();
    const database = new DatabaseSync(path);
    const scans = reads.flatMap((text) =>
      database
        .prepare(`explain query plan ${text}`)
        .all()
        .flatMap(({ detail }) => (/^SCAN (?!CONSTANT)/.test(`${detail}`) ? [`${detail}: ${text}`] : [])),
    );
    database.close();
    expect(scans).toEqual([]);
  });
});

test('a row that is written anew has set what differs, by a statement that is compiled once for all of its kind', () => {
  using database = new DatabaseSync(':memory:');
  const db = new Kysely<Tables>({ dialect: sqliteDialect(database), plugins: [new CamelCasePlugin()] });
  const update = vi.spyOn(db, 'updateTable');
  const anew = prepareChange(addedAny('backingKey', examples.backingKey));
  const { columns } = anew;
  const written = (number: number) =>
    rewriting(db, { columns, anew }, { ...columns, ordinal: number, format: 9, mac: `${number}` }).statement;
  const [one, other] = [written(77), written(78)];
  expect(one.sql).toMatch(/^update "backing_key" set "ordinal" = \?, "format" = \?, "mac" = \? where /);
  expect([one, other].map(({ parameters }) => parameters.slice(0, 3))).toEqual([
    [77, 9, '77'],
    [78, 9, '78'],
  ]);
  expect(one.parameters.slice(3)).toEqual(other.parameters.slice(3));
  expect(update).toHaveBeenCalledTimes(1);
});
