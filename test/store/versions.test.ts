/** Who decided on what is no longer true changes nothing: the store refuses it, and tells how things are now. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { KeyId } from '../../src/kms/names.ts';
import type { LoadedMetadata } from '../../src/store/metadata-store.ts';
import { added, type Change, removed, replaced } from '../../src/store/records/changes.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { arbitraryPut } from './arbitrary-records.ts';
import {
  addedAny,
  aliasPut,
  asPuts,
  conflict,
  examplePuts,
  examples,
  formerRegion,
  removeRoot,
  testMacs,
} from './records.ts';

let folder: string;
let path: string;
let store: SqliteStore;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  path = join(folder, 'metadata.db');
  store = await open();
  await store.write(examplePuts);
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

const open = () => openSqliteStore({ path, macs: testMacs, formerRegion });

/** What is on disk. */
async function reload(): Promise<LoadedMetadata> {
  await store.close();
  store = await open();
  return store.load();
}

/** Edits the file behind the store's back. */
async function edit(sql: string): Promise<void> {
  await store.close();
  const database = new DatabaseSync(path);
  database.exec(sql);
  removeRoot(database);
  database.close();
  store = await open();
}

const eachKind = examplePuts.map(({ put, record }) => [put, record] as const);

describe('a change of a record that is not there in the version that it was decided on', () => {
  test.each(eachKind)('is refused when it puts over a newer one: %s', async (kind, record) => {
    await store.write([replaced(kind, record, {})]);
    await expect(store.write([replaced(kind, record, {})])).rejects.toMatchObject(conflict);
    expect((await reload())[kind]).toEqual([{ ...record, version: 2 }]);
  });

  test.each(eachKind)('is refused when it puts over an older one: %s', async (kind, record) => {
    const ahead = { ...record, version: 2 };
    await expect(store.write([replaced(kind, ahead, {})])).rejects.toMatchObject(conflict);
    expect((await reload())[kind]).toEqual([record]);
  });

  test.each(eachKind)('is refused when it puts a new one where there is one: %s', async (kind, record) => {
    await expect(store.write([added(kind, record)])).rejects.toMatchObject(conflict);
    await expect(store.write([added(kind, { ...record, version: 7 })])).rejects.toMatchObject(conflict);
    expect((await reload())[kind]).toEqual([record]);
  });

  test.each(eachKind)('is refused when it puts over one that was removed: %s', async (kind, record) => {
    await store.write([removed(kind, record)]);
    await expect(store.write([replaced(kind, record, {})])).rejects.toMatchObject(conflict);
    expect((await reload())[kind]).toEqual([]);
  });

  test.each(eachKind)('is refused when it removes another version: %s', async (kind, record) => {
    for (const version of [0, 2]) {
      await expect(store.write([removed(kind, { ...record, version })])).rejects.toMatchObject(conflict);
    }
    expect((await reload())[kind]).toEqual([record]);
  });

  test('takes the other changes of its write along, those before it and those after', async () => {
    const { key, keyPolicy, alias, grant } = examples;
    const changes: readonly Change[] = [
      aliasPut('before'),
      replaced('keyPolicy', keyPolicy, { document: '{}' }),
      removed('grant', grant),
      removed('alias', { ...alias, version: 2 }),
      replaced('key', key, { description: 'other' }),
      aliasPut('after'),
    ];
    await expect(store.write(changes)).rejects.toMatchObject(conflict);
    await store.write([aliasPut('next')]);
    const loaded = await reload();
    expect(loaded.alias.map(({ aliasName }) => aliasName).sort()).toEqual(['alias/next', 'alias/payroll']);
    expect(asPuts({ ...loaded, alias: [alias] })).toEqual(asPuts({ ...loaded, ...asLoaded() }));
  });

  test('is that of the slower one of two who write at once', async () => {
    const results = await Promise.allSettled(
      ['first', 'second'].map((description) => store.write([replaced('key', examples.key, { description })])),
    );
    expect(results).toMatchObject([{ status: 'fulfilled' }, { status: 'rejected', reason: conflict }]);
    expect((await reload()).key).toEqual([{ ...examples.key, version: 2, description: 'first' }]);
  });

  test('is refused although the record says the same again', async () => {
    await store.write([replaced('key', examples.key, { description: 'other' })]);
    await store.write([replaced('key', { ...examples.key, version: 2 }, {})]);
    await expect(store.write([removed('key', examples.key)])).rejects.toMatchObject(conflict);
    expect((await reload()).key).toEqual([{ ...examples.key, version: 3 }]);
  });

  test('is refused for any record and any two versions, and taken for the one that is there', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryPut, fc.maxSafeNat(), async ({ put, record }, other) => {
        await store.write([addedAny(put, record)]);
        const next = { ...record, version: other };
        if (other !== record.version) {
          const over = { ...addedAny(put, next), replaces: other };
          await expect(store.write([over])).rejects.toMatchObject(conflict);
          await expect(store.write([removed(put, next)])).rejects.toMatchObject(conflict);
        }
        await store.write([{ ...addedAny(put, next), replaces: record.version }]);
        await store.write([removed(put, next)]);
      }),
      { numRuns: 50 },
    );
    const loaded = await reload();
    expect(asPuts(loaded)).toEqual(asPuts({ ...loaded, ...asLoaded() }));
  });
});

/** The examples, as the store gives them back. */
function asLoaded() {
  return Object.fromEntries(examplePuts.map(({ put, record }) => [put, [record]]));
}

describe('what the store tells of records after a conflict', () => {
  test('is what they are now: those that another one put, and those that he removed', async () => {
    const { key, alias, grant } = examples;
    const mine: readonly Change[] = [
      replaced('key', key, { description: 'mine' }),
      removed('alias', alias),
      removed('grant', grant),
      aliasPut('mine'),
    ];
    const theirs = { ...key, version: 2, description: 'theirs' };
    await store.write([replaced('key', key, { description: 'theirs' }), removed('grant', grant)]);
    await expect(store.write(mine)).rejects.toMatchObject(conflict);
    expect(await store.reread(mine)).toEqual([
      added('key', theirs),
      added('alias', alias),
      removed('grant', grant),
      removed('alias', aliasPut('mine').record),
    ]);
  });

  test('is true after a restart, too', async () => {
    const changed = { ...examples.backingKey, version: 2, reservedEncryptions: 131_072 };
    await store.write([replaced('backingKey', examples.backingKey, { reservedEncryptions: 131_072 })]);
    await reload();
    expect(await store.reread([removed('backingKey', examples.backingKey)])).toEqual([added('backingKey', changed)]);
  });

  test.each([
    ['was edited', "UPDATE kms_key SET state = 'Disabled'", 'its MAC does not verify: it was edited or damaged'],
    ['is of no known format', 'UPDATE kms_key SET format = 9', 'its format is not known to this version'],
    ['cannot be read', "UPDATE kms_key SET state = 'On'", 'its member state has a value that nothing here writes'],
  ])('is nothing but a refusal where one %s', async (_what, sql, reason) => {
    await edit(sql);
    const changes = [aliasPut('mine'), replaced('key', examples.key, {})];
    await expect(store.reread(changes)).rejects.toMatchObject({
      name: 'StoreError',
      failure: 'damaged',
      message: `a record in \`${path}\` is refused: ${reason}`,
    });
  });

  test('is nothing when the store is closed', async () => {
    await store.close();
    await expect(store.reread([aliasPut('mine')])).rejects.toMatchObject({
      name: 'StoreError',
      failure: 'closed',
      message: `the metadata store \`${path}\` is closed`,
    });
  });
});

describe('the Region of a record', () => {
  const keyId = 'mrk-11111111222233334444555555555555' as KeyId;
  const regions = ['eu-west-1', 'us-west-2'];
  const regionalKinds = [
    ['key', { ...examples.key, keyId }],
    ['keyPolicy', { ...examples.keyPolicy, keyId }],
    ['alias', { ...examples.alias, keyId }],
    ['grant', { ...examples.grant, keyId }],
  ] as const;
  const eu = <Kept extends object>(record: Kept) => ({ ...record, region: 'eu-west-1' });
  const us = <Kept extends object>(record: Kept) => ({ ...record, region: 'us-west-2' });

  test.each(regionalKinds)('keeps apart two of one id, which are loaded as two: %s', async (kind, record) => {
    await store.write([added(kind, us(record)), added(kind, eu(record))]);
    const loaded = await reload();
    expect(loaded.quarantined).toEqual([]);
    const found = loaded[kind].filter(({ region }) => regions.includes(region));
    expect([...found].sort((one, other) => (one.region < other.region ? -1 : 1))).toEqual([eu(record), us(record)]);
  });

  test.each(regionalKinds)('is where alone a change has its effect: %s', async (kind, record) => {
    await store.write([added(kind, us(record)), added(kind, eu(record))]);
    await store.write([replaced(kind, eu(record), {})]);
    await expect(store.write([removed(kind, eu(record))])).rejects.toMatchObject(conflict);
    await store.write([removed(kind, us(record))]);
    expect(await store.reread([removed(kind, us(record)), removed(kind, eu(record))])).toEqual([
      removed(kind, us(record)),
      added(kind, { ...eu(record), version: 2 }),
    ]);
    const loaded = await reload();
    expect(loaded[kind].filter(({ region }) => regions.includes(region))).toEqual([{ ...eu(record), version: 2 }]);
  });

  test.each([
    ['key', 'kms_key'],
    ['keyPolicy', 'key_policy'],
    ['alias', 'alias'],
    ['grant', 'key_grant'],
  ] as const)('is not changed by copying a row into another one: %s', async (kind, table) => {
    await edit(
      `CREATE TEMP TABLE copied AS SELECT * FROM ${table}; UPDATE copied SET region = 'eu-west-1'; INSERT INTO ${table} SELECT * FROM copied`,
    );
    const loaded = await store.load();
    expect(loaded[kind]).toEqual([examples[kind]]);
    const reason = 'its MAC does not verify: it was edited or damaged';
    expect(loaded.quarantined).toMatchObject([{ kind, region: 'eu-west-1', reason }]);
  });
});

describe('a KMS key', () => {
  test('that has no current backing key is loaded without one', async () => {
    await store.write([replaced('key', examples.key, { currentBackingKeyId: null })]);
    expect((await reload()).key).toEqual([{ ...examples.key, version: 2, currentBackingKeyId: null }]);
  });

  test('that is to be deleted keeps the date', async () => {
    const members = { state: 'PendingDeletion', deletionDateMs: 1_800_000_000_000 } as const;
    await store.write([replaced('key', examples.key, members)]);
    expect((await reload()).key).toEqual([{ ...examples.key, version: 2, ...members }]);
  });
});

test('the intent to make a backing key keeps its owner', async () => {
  const intent = { state: 'Creating', owner: store.nodeId, publicKey: null } as const;
  await store.write([replaced('backingKey', examples.backingKey, intent)]);
  expect((await reload()).backingKey).toEqual([{ ...examples.backingKey, version: 2, ...intent }]);
});
