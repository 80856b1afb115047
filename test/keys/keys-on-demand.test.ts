/** Which keys stay in memory when there are more of them than there is room for, over records in a real database. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KeysOnDemand } from '../../src/keys/keys-on-demand.ts';
import { type KeyId, newKeyId } from '../../src/kms/names.ts';
import type { RecordSource } from '../../src/store/record-source.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { addedAny, examples, formerRegion, testMacs } from '../store/records.ts';

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-on-demand-'));
const store = await openSqliteStore({ path: join(folder, 'metadata.db'), macs: testMacs, formerRegion });
const all = Array.from({ length: 400 }, newKeyId).sort();
let source: RecordSource;

beforeAll(async () => {
  await store.write(all.map((keyId) => addedAny('key', { ...examples.key, keyId })));
  const begun = await store.begin(1);
  if (begun.source === undefined) throw new Error('there are more keys than one');
  source = begun.source;
});
afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

const maxKeys = 100;

/** What is in memory, as whoever keeps it is told. */
function memory() {
  const keys = new KeysOnDemand(source, { region: formerRegion, maxKeys, damaged: new Set<KeyId>() });
  const kept = new Set<KeyId>();
  const ask = (keyId: KeyId): boolean => {
    const wasThere = kept.has(keyId);
    kept.add(keyId);
    const gone = keys.asked(keyId);
    if (gone !== undefined) kept.delete(gone);
    expect(kept.has(keyId)).toBe(true);
    expect(kept.size).toBeLessThanOrEqual(maxKeys);
    return wasThere;
  };
  return { keys, kept, ask };
}

test('Keys that are used again and again stay in memory while somebody reads through all keys, as often as he likes', () => {
  const { keys, kept, ask } = memory();
  const used = all.filter((_, index) => index % 20 === 0);
  for (const keyId of [...used, ...used]) ask(keyId);
  let read = 0;
  for (let round = 0; round < 3; round++)
    for (const keyId of keys.all()) {
      if (!used.includes(keyId)) ask(keyId);
      // Much more seldom than keys are read.
      if (++read % 300 === 0) expect(used.filter((each) => !ask(each))).toEqual([]);
    }
  expect(used.filter((keyId) => !kept.has(keyId))).toEqual([]);
});

test('As many keys as there is room for are all in memory once each was asked for twice', () => {
  const { ask } = memory();
  for (const keyId of all.slice(0, maxKeys)) expect(ask(keyId)).toBe(false);
  for (const keyId of all.slice(0, maxKeys)) ask(keyId);
  for (const keyId of all.slice(0, maxKeys)) expect(ask(keyId)).toBe(true);
});

test('Of keys that are asked for once few are in memory, however many there is room for', () => {
  const { kept, ask } = memory();
  all.forEach(ask);
  expect(kept.size).toBeLessThanOrEqual(32);
});

test('Keys that others are used instead of make room for them', () => {
  const { ask } = memory();
  const [before, since] = [all.slice(0, maxKeys), all.slice(maxKeys, 2 * maxKeys)];
  for (let times = 0; times < 3; times++) before.forEach(ask);
  for (let times = 0; times < 4; times++) since.forEach(ask);
  expect(since.filter((keyId) => !ask(keyId)).length).toBeLessThan(maxKeys / 2);
});

test('A key that was forgotten takes no room', () => {
  const { keys, kept, ask } = memory();
  for (let times = 0; times < 3; times++) all.slice(0, maxKeys).forEach(ask);
  for (const keyId of all.slice(0, maxKeys / 2)) {
    keys.forget(keyId);
    kept.delete(keyId);
  }
  for (let times = 0; times < 2; times++) all.slice(maxKeys, maxKeys + maxKeys / 2).forEach(ask);
  expect(all.slice(maxKeys / 2, maxKeys).every((keyId) => kept.has(keyId))).toBe(true);
});
