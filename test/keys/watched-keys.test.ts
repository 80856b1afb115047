/** What a daemon looks at of its own accord: never at keys that nothing is due of, whether all are in memory or none. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { GrantTokens } from '../../src/keys/grants/grant-tokens.ts';
import { KeyDirectory } from '../../src/keys/key-directory.ts';
import { type BackingKeyId, type KeyId, newBackingKeyId, newKeyId } from '../../src/kms/names.ts';
import { whenVerified } from '../../src/store/record-source.ts';
import { added, type Change, removed, replaced } from '../../src/store/records/changes.ts';
import type { BackingKeyRecord, KeyRecord } from '../../src/store/records/records.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { compile, realm } from '../authorization/policies.ts';
import { examples, testMacs } from '../store/records.ts';

const generated = { ...examples.backingKey, owner: '', importedMaterialId: '', validToMs: null };
const importedMaterial = { importedMaterialId: 'a'.repeat(64) };
const wrapped = { residency: 'wrapped', wrappedKey: Buffer.from('blob'), domainKeyId: newBackingKeyId() } as const;

function newRecords(key: Partial<KeyRecord>, material: Partial<BackingKeyRecord>) {
  const [keyId, backingKeyId] = [newKeyId(), newBackingKeyId()];
  const record = {
    ...examples.key,
    nextRotationDateMs: null,
    ...key,
    keyId,
    currentBackingKeyId: backingKeyId,
    region: realm.region,
  };
  const policy = { ...examples.keyPolicy, keyId, region: realm.region };
  return { key: record, policy, material: { ...generated, ...wrapped, ...material, keyId, backingKeyId } };
}

type Records = ReturnType<typeof newRecords>;

const putAll = ({ key, policy, material }: Records): readonly Change[] => [
  added('key', key),
  added('keyPolicy', policy),
  added('backingKey', material),
];

describe.each([
  ['in memory', 1000],
  ['read when they are asked for', 0],
])('Where keys are %s', (_, keysInMemory) => {
  let folder: string;
  let store: SqliteStore;
  let directory: KeyDirectory;
  let turns: Turns;
  let rotations: NonNullable<KeyDirectory['watchedKeys']['rotations']>;
  const disabled = newRecords({ state: 'Disabled' }, {});
  const pending = newRecords({ state: 'PendingDeletion', deletionDateMs: 1 }, {});
  const imported = newRecords({ origin: 'EXTERNAL' }, importedMaterial);
  const expiring = newRecords({ origin: 'EXTERNAL' }, { ...importedMaterial, validToMs: 500 });
  const destroyed = newRecords(
    { state: 'PendingDeletion', deletionDateMs: 1 },
    { state: 'Destroying', owner: 'a node', wrappedKey: null, keyStore: 'third' },
  );
  const inToken = newRecords({}, { residency: 'token', wrappedKey: null, domainKeyId: null });
  const all = { afterMs: 0, untilMs: Number.MAX_SAFE_INTEGER };
  const startedAt = { wallMs: 5, bootMs: 6 };
  let reading = startedAt;
  const many = Array.from({ length: 20 }, () => newRecords({}, {}));

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-watched-'));
    store = await openSqliteStore({ path: join(folder, 'metadata.db'), macs: testMacs, formerRegion: realm.region });
    await store.write([disabled, pending, imported, expiring, destroyed, inToken, ...many].flatMap(putAll));
    const tombstone = { ...examples.tombstone, region: realm.region, keyId: destroyed.key.keyId };
    await store.write([added('tombstone', tombstone)]);
    reading = startedAt;
    const { loaded, source, indexes } = await store.begin(keysInMemory);
    turns = new Turns(store);
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const expiryClocks = { now: () => reading };
    const options = {
      ...{ realm, turns, keyStores: new Map(), defaultKeyStore: 'default', compilePolicy: compile, log },
      expiryClocks,
    };
    directory = new KeyDirectory(options, new GrantTokens(await store.deriveKey('grant-tokens')));
    directory.take(loaded, source);
    turns.follow(directory);
    const { region } = realm;
    rotations = directory.watchedKeys.rotations ?? {
      between: (range, limit) => indexes.rotations.between(region, range, limit),
      count: () => indexes.rotations.count(region),
      of: (keyId) => indexes.rotations.of(region, keyId),
    };
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  const change = (...changes: readonly Change[]) => turns.take(() => ({ changes, response: undefined }));
  const putKey = async (members: Parameters<typeof newRecords>[0]) => {
    const records = newRecords(members, {});
    await change(...putAll(records));
    return records.key;
  };
  const watched = () => [...directory.watchedKeys.ids()].sort();
  const idsOf = (...keys: readonly Records[]): readonly KeyId[] => keys.map(({ key }) => key.keyId).sort();
  const materialsIn = (name: string): Promise<readonly BackingKeyId[]> =>
    whenVerified(() => [...directory.onRecord.materialsIn(name)].map(({ backingKeyId }) => backingKeyId));

  test('upkeep looks at those that something may be due of, as they become and cease to be so', async () => {
    expect([watched(), directory.counts().pendingDeletion]).toEqual([idsOf(pending, imported, expiring, destroyed), 2]);
    const [first, second] = [many[0] as Records, many[1] as Records];
    await change(
      replaced('key', first.key, { state: 'PendingDeletion', deletionDateMs: 2 }),
      replaced('key', second.key, { state: 'Disabled' }),
      ...putAll(newRecords({}, {})),
    );
    expect(watched()).toEqual(idsOf(first, pending, imported, expiring, destroyed));
    expect(directory.counts().pendingDeletion).toBe(3);
    await change(
      replaced('key', pending.key, { state: 'Disabled', deletionDateMs: null }),
      removed('backingKey', imported.material),
      removed('keyPolicy', imported.policy),
      removed('key', imported.key),
    );
    expect(watched()).toEqual(idsOf(first, expiring, destroyed));
    expect(directory.counts().pendingDeletion).toBe(2);
  });

  test('a key whose deletion waits for that of its replicas is counted as such, until it has a date or is in use again', async () => {
    const counted = () => {
      const { pendingDeletion, pendingReplicaDeletion } = directory.counts();
      return [pendingDeletion, pendingReplicaDeletion];
    };
    const key = await putKey({ state: 'PendingReplicaDeletion', deletionWindowDays: 7 });
    expect(counted()).toEqual([2, 1]);
    await change(replaced('key', key, { state: 'PendingDeletion', deletionDateMs: 9 }));
    expect(counted()).toEqual([3, 0]);
    await putKey({ state: 'PendingReplicaDeletion', deletionWindowDays: 7 });
    const other = await putKey({ state: 'PendingReplicaDeletion', deletionWindowDays: 7 });
    await change(replaced('key', other, { state: 'Disabled', deletionWindowDays: null }));
    expect(counted()).toEqual([3, 1]);
  });

  test('those that are to be deleted are found by their dates, so many as are asked for, until their destruction begins', async () => {
    const { deletions } = directory.watchedKeys;
    const found = (range = all, limit = 10) => deletions.between(range, limit).map(({ keyId }) => keyId);
    const begun = () => [...directory.watchedKeys.begunDeletions];
    expect([found(), deletions.count(), begun()]).toEqual([idsOf(pending), 1, idsOf(destroyed)]);
    expect(deletions.of(pending.key.keyId)).toMatchObject({ dateMs: 1, seen: startedAt });
    const [one, two, same] = [many[4] as Records, many[5] as Records, many[6] as Records];
    const date = ({ key }: Records, deletionDateMs: number | null) =>
      replaced('key', key, { state: deletionDateMs === null ? 'Disabled' : 'PendingDeletion', deletionDateMs });
    const scheduledAt = { wallMs: 7, bootMs: 8 };
    reading = scheduledAt;
    await change(date(two, 200), date(one, 100), date(same, 200));
    const [second, third] = idsOf(two, same);
    expect(found()).toEqual([pending.key.keyId, one.key.keyId, second, third]);
    expect(found({ afterMs: 1, untilMs: 200 }, 2)).toEqual([one.key.keyId, second]);
    expect(deletions.of(one.key.keyId)).toMatchObject({ dateMs: 100, seen: scheduledAt });
    const next = (of: Records): Records => ({
      ...of,
      key: { ...of.key, state: 'PendingDeletion', version: of.key.version + 1 },
    });
    reading = { wallMs: 9, bootMs: 10 };
    await change(date(next(one), 300), date(next(two), null), replaced('key', next(same).key, { deletionDateMs: 200 }));
    expect(found()).toEqual([pending, same, one].map(({ key }) => key.keyId));
    expect([same, one].map(({ key }) => deletions.of(key.keyId)?.seen)).toEqual([scheduledAt, reading]);
    await change(added('tombstone', { ...examples.tombstone, region: realm.region, keyId: pending.key.keyId }));
    expect([found(), begun().toSorted()]).toEqual([[same, one].map(({ key }) => key.keyId), idsOf(pending, destroyed)]);
    await change(
      removed('backingKey', pending.material),
      removed('keyPolicy', pending.policy),
      removed('key', pending.key),
    );
    expect([found().length, deletions.count(), begun()]).toEqual([2, 2, idsOf(destroyed)]);
  });

  test('imported material that expires is found by its date, and an import that did not end by its key', async () => {
    const { watchedKeys } = directory;
    const { expiries } = watchedKeys;
    const found = (range = all, limit = 10) => expiries.between(range, limit).map(({ id }) => id);
    const { backingKeyId } = expiring.material;
    // Where keys are read when they are asked for, a start reads those that are watched.
    if (keysInMemory === 0) await change(replaced('backingKey', expiring.material, { materialDescription: 'anew' }));
    expect([found(), expiries.count(), [...watchedKeys.unsettledImports]]).toEqual([[backingKeyId], 1, []]);
    expect(expiries.of(backingKeyId)).toMatchObject({ keyId: expiring.key.keyId, dateMs: 500, seen: startedAt });
    const later = newRecords({ origin: 'EXTERNAL' }, { ...importedMaterial, validToMs: 600 });
    const begun = newRecords({ origin: 'EXTERNAL' }, { ...importedMaterial, state: 'Creating', owner: 'a node' });
    await change(...putAll(later), ...putAll(begun), replaced('backingKey', imported.material, { validToMs: 400 }));
    const [first, last] = [imported.material.backingKeyId, later.material.backingKeyId];
    expect([found(all, 2), found({ afterMs: 500, untilMs: 600 })]).toEqual([[first, backingKeyId], [last]]);
    expect([...watchedKeys.unsettledImports]).toEqual([begun.key.keyId]);
    await change(
      replaced(
        'backingKey',
        { ...expiring.material, version: keysInMemory === 0 ? 2 : 1 },
        { state: 'Removed', wrappedKey: null, validToMs: null },
      ),
      replaced('backingKey', begun.material, { state: 'Active', owner: '' }),
      removed('backingKey', later.material),
    );
    expect([found(), [...watchedKeys.unsettledImports]]).toEqual([[first], []]);
  });

  test('those that are to be rotated are found by their dates, while they are enabled', async () => {
    expect(directory.watchedKeys.rotations === undefined).toBe(keysInMemory === 0);
    const found = (range = all, limit = 10) => rotations.between(range, limit).map(({ keyId }) => keyId);
    expect([found(), rotations.count()]).toEqual([[], 0]);
    const last = { ...newRecords({ nextRotationDateMs: 300, rotationPeriodDays: 90 }, {}) };
    const [one, two, same] = [many[4] as Records, many[5] as Records, many[6] as Records];
    const date = ({ key }: Records, nextRotationDateMs: number | null, by: Partial<KeyRecord> = {}) =>
      replaced('key', key, { nextRotationDateMs, ...by });
    await change(...putAll(last), date(two, 200), date(one, 100), date(same, 200), date(disabled, 150));
    const [second, third] = idsOf(two, same);
    expect(found()).toEqual([one.key.keyId, second, third, last.key.keyId]);
    expect(found(all, 2)).toEqual([one.key.keyId, second]);
    expect(found({ afterMs: 100, untilMs: 200 })).toEqual([second, third]);
    expect(found({ afterMs: 300, untilMs: 400 })).toEqual([]);
    expect(rotations.of(disabled.key.keyId)).toMatchObject({ nextRotationDateMs: 150, isEnabled: false });
    expect([rotations.of((many[7] as Records).key.keyId), rotations.count()]).toEqual([undefined, 4]);
    const next = (of: Records): Records => ({ ...of, key: { ...of.key, version: of.key.version + 1 } });
    await change(
      date(next(disabled), 150, { state: 'Enabled' }),
      date(next(one), 400),
      date(next(two), 200, { state: 'Disabled' }),
      date(next(same), null),
    );
    expect(found()).toEqual([disabled, last, one].map(({ key }) => key.keyId));
    await change(removed('backingKey', last.material), removed('keyPolicy', last.policy), removed('key', last.key));
    expect([found(), rotations.count()]).toEqual([[disabled, one].map(({ key }) => key.keyId), 2]);
    expect(rotations.of(last.key.keyId)).toBeUndefined();
  });

  test('of material in a key store what is in its token is found, and one that is wrapped, as it is moved, made and removed', async () => {
    const { keyStore } = examples.backingKey;
    const found = await materialsIn(keyStore);
    expect(found).toContain(inToken.material.backingKeyId);
    expect(found).toHaveLength(2);
    expect(await materialsIn('other')).toEqual([]);
    const moved = many[3] as Records;
    const begun = newRecords({}, { ...wrapped, state: 'Creating', keyStore: 'other' });
    await change(
      replaced('backingKey', moved.material, { keyStore: 'other' }),
      replaced('backingKey', inToken.material, { ...wrapped }),
      added('backingKey', begun.material),
    );
    expect(await materialsIn(keyStore)).toHaveLength(1);
    const { backingKeyId } = moved.material;
    expect((await materialsIn('other')).toSorted()).toEqual([backingKeyId, begun.material.backingKeyId].toSorted());
    await change(
      removed('backingKey', begun.material),
      removed('backingKey', { ...moved.material, keyStore: 'other', version: moved.material.version + 1 }),
    );
    expect(await materialsIn('other')).toEqual([]);
  });
});
