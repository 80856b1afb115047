/** Last uses over a real store: what is written when, in which portions, and what is known after it went wrong. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LastUses } from '../../src/keys/last-uses.ts';
import { type AliasName, type KeyId, newKeyId, parseAliasName } from '../../src/kms/names.ts';
import type { Change } from '../../src/store/records/changes.ts';
import { added, removed } from '../../src/store/records/changes.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { StoreError } from '../../src/store/store-error.ts';
import { Turns } from '../../src/store/turns.ts';
import { realm } from '../authorization/policies.ts';
import { testMacs } from '../store/records.ts';
import { holdTurn } from '../support/held-turn.ts';

const dayMs = 24 * 60 * 60 * 1000;
const startedMs = Date.UTC(2026, 0, 1);

let folder: string;
let store: SqliteStore;
let path: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-last-uses-'));
  path = join(folder, 'metadata.db');
  store = await openSqliteStore({ path, macs: testMacs, formerRegion: realm.region });
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

interface Options {
  /** What happens to a write, before it is done. */
  readonly beforeWrite?: (changes: readonly Change[]) => void;
  readonly usageWriteDelayMs?: number;
  readonly hasKey?: (keyId: KeyId) => boolean;
}

/** As a start does. */
async function open({ beforeWrite = () => undefined, hasKey = () => true, usageWriteDelayMs = 600_000 }: Options = {}) {
  const turns = new Turns({
    async write(changes) {
      beforeWrite(changes);
      await store.write(changes);
    },
    reread: (changes) => store.reread(changes),
  });
  const logged: string[] = [];
  const note = (_: object, message: string): void => void logged.push(message);
  const log = { debug() {}, info: note, warn: note, error: note };
  const uses = new LastUses({ realm, turns, log, usageTrackedSinceMs: startedMs, usageWriteDelayMs, hasKey });
  uses.take(await store.load());
  turns.follow({
    apply(changes) {
      for (const change of changes) {
        if ('put' in change && change.put === 'lastUse') uses.show(change.record);
        if ('remove' in change && change.remove === 'lastUse') uses.hide(change.record.keyId);
      }
    },
  });
  return { uses, turns, logged };
}
/** What is on disk of a key. */
const onDisk = async (keyId: KeyId) => (await store.load()).lastUse.find((record) => record.keyId === keyId);

test('Ten thousand keys that are used once each are written in portions of a hundred, and then no more', async () => {
  const portions: number[] = [];
  const { uses } = await open({ beforeWrite: ({ length }) => portions.push(length) });
  const keyIds = Array.from({ length: 10_000 }, () => newKeyId());
  for (const [index, keyId] of keyIds.entries())
    uses.used(keyId, 'Encrypt', startedMs + index, `r${index}`, `e${index}`);
  await Promise.all([uses.write(), uses.write()]);
  expect(portions).toEqual(Array.from({ length: 100 }, () => 100));
  await uses.write();
  expect(portions).toHaveLength(100);
  const again = (await open()).uses;
  expect(keyIds.every((keyId, index) => again.of(keyId)?.eventId === `e${index}`)).toBe(true);
});

test('A change of somebody else comes between the portions of last uses', async () => {
  const order: unknown[] = [];
  const { uses, turns } = await open({ beforeWrite: ({ length }) => order.push(length) });
  for (let index = 0; index < 300; index++) uses.used(newKeyId(), 'Encrypt', startedMs, 'r', `e${index}`);
  const written = uses.write();
  await turns.take(() => {
    order.push('theirs');
    return { changes: [], response: undefined };
  });
  await written;
  expect(order).toEqual([100, 'theirs', 100, 100]);
});

test('Others who have something to do come first between the portions, and a stop in between writes the rest', async () => {
  let turns = 0;
  const turnsBefore: number[] = [];
  const { uses } = await open({ beforeWrite: () => turnsBefore.push(turns) });
  const keyIds = Array.from({ length: 1_200 }, () => newKeyId());
  for (const [index, keyId] of keyIds.entries())
    uses.used(keyId, 'Encrypt', startedMs + index, `r${index}`, `e${index}`);
  let isOver = false;
  const others = (): void => {
    turns++;
    for (const untilMs = performance.now() + 1; performance.now() < untilMs; );
    if (!isOver) setImmediate(others);
  };
  others();
  const written = uses.write();
  while (turnsBefore.length < 8) await new Promise((resolve) => setImmediate(resolve));
  // Of a millisecond each, and a portion takes some of these.
  const between = turnsBefore.slice(1).map((each, index) => each - (turnsBefore[index] ?? 0));
  expect(between.toSorted((one, other) => one - other)[3]).toBeGreaterThan(8);
  isOver = true;
  await uses.close(60_000);
  await written;
  expect(turnsBefore).toHaveLength(12);
  expect((await store.load()).lastUse).toHaveLength(1_200);
});

test('A key that is used while its last use is written is written once more, with the later use', async () => {
  const { uses, turns } = await open();
  const keyId = newKeyId();
  uses.used(keyId, 'Encrypt', startedMs, 'r1', 'e1');
  const written = uses.write();
  // Decided by then, not on disk yet.
  const between = turns.take(() => ({ changes: [], response: undefined }));
  await Promise.resolve();
  uses.used(keyId, 'Decrypt', startedMs + 1, 'r2', 'e2');
  await Promise.all([written, between]);
  expect(uses.of(keyId)).toMatchObject({
    operation: 'Decrypt',
    usedAtMs: startedMs + 1,
    requestId: 'r2',
    eventId: 'e2',
  });
  await uses.write();
  expect(await onDisk(keyId)).toMatchObject({ operation: 'Decrypt', requestId: 'r2', eventId: 'e2' });
});

test('What a full disk refuses is kept, said once, written when there is room, and lost by no reader meanwhile', async () => {
  let isFull = true;
  const full = (): void => {
    if (isFull) throw new StoreError('full', 'no room');
  };
  const { uses, logged } = await open({ beforeWrite: full, usageWriteDelayMs: 5 });
  const keyId = newKeyId();
  uses.used(keyId, 'Sign', startedMs, 'r', 'e');
  await expect.poll(() => logged).toHaveLength(1);
  await expect(uses.write()).rejects.toThrow('no room');
  expect(uses.of(keyId)).toMatchObject({ operation: 'Sign', eventId: 'e' });
  isFull = false;
  await expect.poll(() => onDisk(keyId)).toMatchObject({ operation: 'Sign', requestId: 'r', eventId: 'e' });
  await expect
    .poll(() => logged)
    .toEqual([
      'the last uses of keys cannot be written; it is tried again, and no request fails',
      'the last uses of keys are written again',
    ]);
});

test('Without a stop only the uses of the last moments are lost, and an orderly stop loses none', async () => {
  const [kept, lost] = [newKeyId(), newKeyId()];
  const first = (await open({ usageWriteDelayMs: 5 })).uses;
  first.used(kept, 'Encrypt', startedMs, 'r1', 'e1');
  await expect.poll(() => onDisk(kept)).toBeDefined();
  // As after `kill -9`: nobody writes what this one has noted.
  (await open()).uses.used(lost, 'Encrypt', startedMs, 'r2', 'e2');
  const second = (await open()).uses;
  expect([second.of(kept)?.eventId, second.of(lost)]).toEqual(['e1', undefined]);
  second.used(lost, 'Decrypt', startedMs, 'r3', 'e3');
  await second.close(60_000);
  const third = (await open()).uses;
  expect([third.of(kept)?.eventId, third.of(lost)?.eventId]).toEqual(['e1', 'e3']);
});

test('A stop does not wait longer for a stuck HSM than it is told to, and says what is lost', async () => {
  const { uses, turns, logged } = await open();
  const aliasName = parseAliasName('alias/any') as AliasName;
  const times = { version: 1, createdAtMs: 1, updatedAtMs: 1 };
  const theirs = added('alias', { region: realm.region, aliasName, keyId: newKeyId(), ...times });
  const held = await holdTurn(turns, () => [theirs]);
  uses.used(newKeyId(), 'Encrypt', startedMs, 'r', 'e');
  await uses.close(20);
  expect(logged).toEqual(['the last uses of some keys could not be written before the stop']);
  await held.letGo();
  await uses.write();
});

test('Nothing is written of a key that was deleted, and nothing is known of it', async () => {
  const [gone, stays] = [newKeyId(), newKeyId()];
  const there = new Set([gone, stays]);
  const { uses, turns } = await open({ hasKey: (keyId) => there.has(keyId) });
  for (const keyId of [gone, stays]) uses.used(keyId, 'Encrypt', startedMs, 'r', `e ${keyId}`);
  await uses.write();
  uses.used(gone, 'Decrypt', startedMs, 'r', 'later');
  const record = uses.recordOf(gone);
  if (record === undefined) throw new TypeError('it was not written');
  there.delete(gone);
  await turns.take(() => ({ changes: [removed('lastUse', record)], response: undefined }));
  // A request that was under way when the key went.
  uses.used(gone, 'Decrypt', startedMs, 'r', 'latest');
  await uses.write();
  expect(uses.of(gone)).toBeUndefined();
  expect((await store.load()).lastUse.map(({ keyId }) => keyId)).toEqual([stays]);
});

test('A record that did not verify is said to whoever asks, keeps no other from being written, and counts until the next use', async () => {
  const [edited, other] = [newKeyId(), newKeyId()];
  const before = (await open()).uses;
  before.used(edited, 'Encrypt', startedMs, 'r', 'e');
  await before.write();
  await store.close();
  const database = new DatabaseSync(path);
  database.prepare('UPDATE last_use SET used_at_ms = used_at_ms + 1').run();
  database.close();
  store = await openSqliteStore({ path, macs: testMacs, formerRegion: realm.region });
  const { uses } = await open();
  expect(() => uses.of(edited)).toThrow(expect.objectContaining({ name: 'KMSInternalException' }));
  expect(() => uses.daysWithoutUse({ keyId: edited, createdAtMs: 0 }, startedMs)).toThrow(expect.anything());
  uses.used(edited, 'Sign', startedMs, 'r', 'again');
  uses.used(other, 'Sign', startedMs, 'r', 'other');
  await uses.write();
  expect(uses.of(edited)?.eventId).toBe('again');
  expect(await onDisk(other)).toMatchObject({ eventId: 'other' });
});

test.each<[string, number, number | undefined, number, number]>([
  ['a use', startedMs - dayMs, startedMs + 2 * dayMs, startedMs + 31.9 * dayMs, 29],
  ['a use just now', startedMs - dayMs, startedMs + 2 * dayMs, startedMs + 2 * dayMs, 0],
  ['no use of an older key', startedMs - 500 * dayMs, undefined, startedMs + 18 * dayMs, 18],
  ['no use of a newer key', startedMs + 10 * dayMs, undefined, startedMs + 18 * dayMs, 8],
  ['a use, by a clock that was put back', startedMs - dayMs, startedMs + 2 * dayMs, startedMs - 300 * dayMs, 0],
])('Days without use are counted from %s', async (_, createdAtMs, usedAtMs, nowMs, days) => {
  const { uses } = await open();
  const keyId = newKeyId();
  if (usedAtMs !== undefined) uses.used(keyId, 'Encrypt', usedAtMs, 'r', 'e');
  expect(uses.daysWithoutUse({ keyId, createdAtMs }, nowMs)).toBe(days);
  expect(uses.trackedSinceMs({ createdAtMs })).toBe(Math.max(startedMs, createdAtMs));
});
