/** Keys that were read and verified are not read again, and are never older than what was written. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync, StatementSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { BackingKeyId, KeyId } from '../../src/kms/names.ts';
import type { QuarantinedRecord } from '../../src/store/quarantined-record.ts';
import { type RecordSource, whenVerified } from '../../src/store/record-source.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { type AnyPut, addedAny, aliasPut, examples, formerRegion, testMacs } from './records.ts';

const otherRegion = 'eu-west-1';
const keyIdOf = (number: number) => `${String(number).padStart(8, '0')}-1111-2222-3333-444444444444` as KeyId;
const backingKeyIdOf = (number: number) => String(number).padStart(32, 'a') as BackingKeyId;
const multiRegionId = `mrk-${'5'.repeat(32)}` as KeyId;
const keyCount = 30;

function recordsOfKey(keyId: KeyId, backingKeyId: BackingKeyId, regions = [formerRegion]): readonly AnyPut[] {
  const ofRegion = (region: string): readonly AnyPut[] => [
    addedAny('key', { ...examples.key, region, keyId, nextRotationDateMs: null, currentBackingKeyId: backingKeyId }),
    addedAny('keyPolicy', { ...examples.keyPolicy, region, keyId }),
  ];
  const residency = { residency: 'wrapped', regions: regions.join(' ') };
  return [
    ...regions.flatMap(ofRegion),
    addedAny('backingKey', { ...examples.backingKey, keyId, backingKeyId, ...residency }),
  ];
}

describe('Keys that were verified', () => {
  let folder: string;
  let path: string;
  let store: SqliteStore;
  let source: RecordSource;
  /** Records that the HSM was asked about since the start. */
  let verified = 0;

  async function begin(packedKeyBytes = 4 * 1024 * 1024): Promise<void> {
    const macs: typeof testMacs = (messages) => {
      verified += messages.length;
      return testMacs(messages);
    };
    store = await openSqliteStore({ path, macs, formerRegion });
    const begun = await store.begin(0, undefined, { packedKeyBytes });
    if (begun.source === undefined) throw new Error('all of it was loaded');
    ({ source } = begun);
    verified = 0;
  }

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-verified-keys-'));
    path = join(folder, 'metadata.db');
    const made = await openSqliteStore({ path, macs: testMacs, formerRegion });
    for (let number = 0; number < keyCount; number++)
      await made.write(recordsOfKey(keyIdOf(number), backingKeyIdOf(number)));
    await made.write(recordsOfKey(multiRegionId, backingKeyIdOf(900), [formerRegion, otherRegion]));
    // More than a start verifies by itself.
    await made.write(Array.from({ length: 4100 }, (_, number) => aliasPut(`n${number}`)));
    await made.close();
    await begin();
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  const read = (keyId: KeyId, region = formerRegion) => whenVerified(() => source.readKey(region, keyId));

  async function replace(kind: 'key' | 'keyPolicy' | 'backingKey', record: object, replaces = 1): Promise<void> {
    await store.write([{ put: kind, record: { ...record, version: replaces + 1 }, replaces } as never]);
  }

  test('are neither read from the file again nor verified again', async () => {
    const found = await read(keyIdOf(3));
    expect(verified).toBe(3);
    const statement = vi.spyOn(StatementSync.prototype, 'all');
    try {
      expect(await read(keyIdOf(3))).toEqual(found);
      expect(source.has('key', { region: formerRegion, keyId: keyIdOf(3) })).toBe(true);
      expect(statement).not.toHaveBeenCalled();
      // Which says nothing of it but that.
      expect(source.has('key', { region: formerRegion, keyId: keyIdOf(3), description: 'another' })).toBe(false);
      expect(source.has('key', { region: otherRegion, keyId: keyIdOf(3) })).toBe(false);
      expect(statement).toHaveBeenCalledTimes(2);
    } finally {
      statement.mockRestore();
    }
    expect(verified).toBe(3);
  });

  test('are what was written last, and what was not written is not verified anew', async () => {
    const before = await read(keyIdOf(4));
    if (before?.policy === undefined) throw new Error('it is there');
    await replace('keyPolicy', { ...before.policy, document: 'another' });
    verified = 0;
    expect(await read(keyIdOf(4))).toEqual({
      ...before,
      policy: { ...before.policy, document: 'another', version: 2 },
    });
    await replace('key', { ...before.key, state: 'Disabled' });
    expect((await read(keyIdOf(4)))?.key.state).toBe('Disabled');
    await replace('backingKey', { ...before.backingKeys[0], reservedEncryptions: 77 });
    expect((await read(keyIdOf(4)))?.backingKeys).toMatchObject([{ reservedEncryptions: 77 }]);
    // Of each write the MAC of the one record and that is all.
    expect(verified).toBe(2);
    await store.write([addedAny('backingKey', { ...examples.backingKey, keyId: keyIdOf(4), ordinal: 2 })]);
    expect((await read(keyIdOf(4)))?.backingKeys).toHaveLength(2);
  });

  test('are gone when they were removed', async () => {
    const records = recordsOfKey(keyIdOf(5), backingKeyIdOf(5));
    await read(keyIdOf(5));
    await store.write(records.map(({ put, record }) => ({ remove: put, record }) as never));
    expect(await read(keyIdOf(5))).toBeUndefined();
  });

  test('have the grants that were made since', async () => {
    expect(await read(keyIdOf(6))).toMatchObject({ hasGrants: false });
    await store.write([addedAny('grant', { ...examples.grant, keyId: keyIdOf(6) })]);
    expect(await read(keyIdOf(6))).toMatchObject({ hasGrants: true });
  });

  test('are of each Region what it has, and change in all with their material', async () => {
    for (const region of [formerRegion, otherRegion])
      expect((await read(multiRegionId, region))?.key.region).toBe(region);
    const material = { ...examples.backingKey, keyId: multiRegionId, backingKeyId: backingKeyIdOf(900) };
    const regions = [formerRegion, otherRegion].join(' ');
    await replace('backingKey', { ...material, residency: 'wrapped', regions, state: 'Destroying' });
    for (const region of [formerRegion, otherRegion])
      expect((await read(multiRegionId, region))?.backingKeys).toMatchObject([{ state: 'Destroying' }]);
  });

  test('have no rows of others, where an index was edited and leads to those', async () => {
    await store.close();
    const file = new DatabaseSync(path, { defensive: false });
    file.exec(`pragma writable_schema = on;
      create table wrong as select * from key_policy order by rowid desc;
      update sqlite_schema set rootpage = (select rootpage from sqlite_schema where name = 'wrong')
        where name = 'key_policy' and type = 'table';
      delete from sqlite_schema where name = 'wrong'`);
    file.close();
    await begin();
    for (let twice = 0; twice < 2; twice++) {
      expect(await read(keyIdOf(7))).toMatchObject({ key: { keyId: keyIdOf(7) }, policy: undefined });
      await source.verifyKeys(0n, 100);
    }
  });

  test('are verified before somebody asks, some at a time, each once', async () => {
    const told: number[] = [];
    let next: bigint | null = 0n;
    await read(keyIdOf(2));
    verified = 0;
    while (next !== null) {
      const done = await source.verifyKeys(next, 7);
      told.push(done.verified);
      next = done.next;
    }
    expect(Math.max(...told)).toBe(7);
    // Those of two Regions are two, of one material; one was read already.
    expect(told.reduce((sum, each) => sum + each, 0)).toBe(keyCount + 1);
    const before = verified;
    for (let number = 0; number < keyCount; number++) expect(await read(keyIdOf(number))).toBeDefined();
    expect(verified).toBe(before);
  });

  test('are named where one does not verify, and that one is refused', async () => {
    await store.close();
    const file = new DatabaseSync(path);
    file.prepare("update key_policy set document = 'Allow' where key_id = ?").run(keyIdOf(9));
    file.close();
    await begin();
    const refused: QuarantinedRecord[] = [];
    source.whenRefused((record) => refused.push(record));
    await source.verifyKeys(0n, 100);
    expect(refused).toMatchObject([{ kind: 'keyPolicy', id: keyIdOf(9) }]);
    expect(await read(keyIdOf(9))).toMatchObject({ policy: undefined });
    expect(await read(keyIdOf(10))).toMatchObject({ policy: { keyId: keyIdOf(10) } });
  });

  test('are verified ahead as long as there is room', async () => {
    await store.close();
    await begin(1024 * 1024);
    let next: bigint | null = 0n;
    while (next !== null) ({ next } = await source.verifyKeys(next, 7));
    expect(source.keysAtHand).toBe(keyCount + 2);
  });

  test('are verified by nobody ahead where there is no room for them', async () => {
    await store.close();
    await begin(0);
    expect(await source.verifyKeys(0n, 7)).toEqual({ verified: 0, next: null });
    expect(verified).toBe(0);
    await read(keyIdOf(1));
    expect(verified).toBeGreaterThan(0);
  });

  test('are kept though something else is written while the HSM is at them', async () => {
    const done = source.verifyKeys(0n, 100);
    await store.write([aliasPut('other')]);
    expect(await done).toMatchObject({ verified: keyCount + 2 });
    expect(source.keysAtHand).toBe(keyCount + 2);
  });

  test('of several Regions are at hand in each, though their material is one', async () => {
    await source.verifyKeys(0n, 100);
    verified = 0;
    for (const region of [formerRegion, otherRegion]) expect(await read(multiRegionId, region)).toBeDefined();
    expect(verified).toBe(0);
  });

  test('are known in one place, also when all records were verified', async () => {
    await source.verifyKeys(0n, 100);
    await source.verifyAll();
    verified = 0;
    await source.verifyAll();
    // But for the material that several Regions have.
    expect(verified).toBe(3 * keyCount + 4);
    await replace('keyPolicy', { ...examples.keyPolicy, keyId: keyIdOf(4) });
    verified = 0;
    expect(await read(keyIdOf(4))).toBeDefined();
    expect(verified).toBe(0);
  });

  test('stay where a row is refused whose id has the digits of theirs, and is none', async () => {
    const other = keyIdOf(10).replace('00000010', '0000000g');
    await store.close();
    const file = new DatabaseSync(path);
    file.prepare('update key_policy set key_id = ? where key_id = ?').run(other, keyIdOf(12));
    file.close();
    await begin();
    await read(keyIdOf(10));
    const refused: string[] = [];
    source.whenRefused(({ id }) => refused.push(id));
    await source.verifyAll();
    expect(refused).toEqual([other]);
    expect(source.keysAtHand).toBe(1);
  });

  test('are not kept as they were before a write that came while the HSM was at them', async () => {
    await store.close();
    const held: (() => void)[] = [];
    let isHeld = false;
    const macs: typeof testMacs = async (messages) => {
      if (isHeld) await new Promise<void>((resolve) => held.push(resolve));
      return testMacs(messages);
    };
    store = await openSqliteStore({ path, macs, formerRegion });
    ({ source } = (await store.begin(0, undefined, { packedKeyBytes: 4 * 1024 * 1024 })) as { source: RecordSource });
    isHeld = true;
    const done = source.verifyKeys(0n, 100);
    await vi.waitFor(() => expect(held).toHaveLength(1));
    isHeld = false;
    await replace('keyPolicy', { ...examples.keyPolicy, keyId: keyIdOf(11), document: 'another' });
    for (const go of held.splice(0)) go();
    await done;
    expect((await read(keyIdOf(11)))?.policy?.document).toBe('another');
  });
});
