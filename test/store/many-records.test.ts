/** A load of many records: their MACs are asked for together, and each is judged by its own. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LoadedMetadata, RecordMacs } from '../../src/store/metadata-store.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { type AnyPut, addedAny, aliasPut, examples, formerRegion, testMacs } from './records.ts';

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-many-records-'));
const path = join(folder, 'metadata.db');
const aliasCount = 2_000;

beforeAll(async () => {
  const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
  const policies = Array.from({ length: 300 }, (_, index): AnyPut => {
    const keyId = `${String(index).padStart(8, '0')}-2222-3333-4444-555555555555` as typeof examples.key.keyId;
    // Every other one differs; among the others there is one text, shared.
    const document = index % 2 === 0 ? examples.keyPolicy.document : `${examples.keyPolicy.document} ${index} ünïcode`;
    return addedAny('keyPolicy', { ...examples.keyPolicy, keyId, document });
  });
  await store.write([...Array.from({ length: aliasCount }, (_, index) => aliasPut(`n${index}`)), ...policies]);
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
  expect(batches.reduce((sum, each) => sum + each, 0)).toBe(aliasCount + 300 + 1); // And the key of the root.
  expect(batches.length).toBeLessThan(30);
  const names = loaded.alias.map(({ aliasName }) => aliasName).sort();
  expect(names).toEqual(Array.from({ length: aliasCount }, (_, index) => `alias/n${index}`).sort());
  const policies = [...loaded.keyPolicy].sort((one, other) => (one.keyId < other.keyId ? -1 : 1));
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
    expect(loaded.alias).toHaveLength(aliasCount - names.length);
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
  expect((await store.load()).alias).toHaveLength(aliasCount);
  await store.close();
});
