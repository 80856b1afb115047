/** Blocks of encryption numbers that are asked for at once, over a real store. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type NumberBlock, nextBlock } from '../../src/keys/encryption-counter.ts';
import { NumberReservations } from '../../src/keys/number-reservations.ts';
import type { BackingKeyId } from '../../src/kms/names.ts';
import { added, type Change, replaced } from '../../src/store/records/changes.ts';
import type { BackingKeyRecord } from '../../src/store/records/records.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { type Decided, Turns } from '../../src/store/turns.ts';
import { conflict, examples, formerRegion, testMacs } from '../store/records.ts';
import { holdTurn } from '../support/held-turn.ts';

const limits = { maxEncryptionsPerBackingKey: 100, reservationBlock: 8 };
const ids = Array.from({ length: 200 }, (_, number) => `${number}`.padStart(32, '0') as BackingKeyId);

let folder: string;
let store: SqliteStore;
let turns: Turns;
let records: Map<string, BackingKeyRecord>;
let reservations: NumberReservations<BackingKeyId>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  store = await openSqliteStore({ path: join(folder, 'metadata.db'), formerRegion, macs: testMacs });
  await store.load();
  records = new Map();
  turns = new Turns(store);
  const apply = (changes: readonly Change[]): void => {
    for (const change of changes)
      if ('put' in change && change.put === 'backingKey') records.set(change.record.backingKeyId, change.record);
  };
  turns.follow({ apply });
  const all = ids.map((backingKeyId) =>
    added('backingKey', { ...examples.backingKey, backingKeyId, version: 1, reservedEncryptions: 0 }),
  );
  await turns.take(() => ({ changes: all, response: undefined }));
  reservations = new NumberReservations(turns, decide);
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

function decide(id: BackingKeyId): Decided<NumberBlock | undefined> {
  const record = records.get(id);
  if (record === undefined) throw new RangeError(`${id} is gone`);
  const block = nextBlock(record.reservedEncryptions, limits);
  if (block === undefined) return { changes: [], response: undefined };
  return { changes: [replaced('backingKey', record, { reservedEncryptions: block.to })], response: block };
}

const hold = () => holdTurn(turns, () => [added('key', examples.key)]);
const reserveAll = (some: readonly BackingKeyId[]) => Promise.allSettled(some.map((id) => reservations.reserve(id)));
const first = { status: 'fulfilled', value: { from: 0, to: 8 } };

async function reservedOnDisk(id: BackingKeyId): Promise<number | undefined> {
  const { backingKey } = await store.load();
  return backingKey.find(({ backingKeyId }) => backingKeyId === id)?.reservedEncryptions;
}

describe('reservations of encryption numbers', () => {
  test('that wait for the same turn are written in one transaction, and of 200 in two', async () => {
    const held = await hold();
    const epoch = store.standing().epoch;
    const reserved = reserveAll(ids);
    await held.letGo();
    expect(await reserved).toEqual(ids.map(() => first));
    expect(store.standing().epoch - epoch).toBe(1 + 2);
    for (const id of [ids[0], ids[127], ids[128], ids[199]]) expect(await reservedOnDisk(id as BackingKeyId)).toBe(8);
  });

  test('give the same backing key one block after the other', async () => {
    const [id, other] = ids as [BackingKeyId, BackingKeyId];
    const held = await hold();
    const reserved = reserveAll([id, id, other, id]);
    await held.letGo();
    expect((await reserved).map((one) => 'value' in one && one.value)).toEqual([
      { from: 0, to: 8 },
      { from: 8, to: 16 },
      { from: 0, to: 8 },
      { from: 16, to: 24 },
    ]);
    expect(await reservedOnDisk(id)).toBe(24);
  });

  test('fail for the backing key alone that is gone, or has no numbers left', async () => {
    const [gone, spent, ...others] = ids.slice(0, 10) as [BackingKeyId, BackingKeyId, ...BackingKeyId[]];
    records.delete(gone);
    const used = records.get(spent) as BackingKeyRecord;
    records.set(spent, { ...used, reservedEncryptions: 100 });
    const held = await hold();
    const reserved = reserveAll([gone, spent, ...others]);
    await held.letGo();
    expect(await reserved).toEqual([
      { status: 'rejected', reason: new RangeError(`${gone} is gone`) },
      { status: 'fulfilled', value: undefined },
      ...others.map(() => first),
    ]);
  });

  test('fail for the backing key alone whose record is never the one that was decided on', async () => {
    const [edited, ...others] = ids.slice(0, 10) as [BackingKeyId, ...BackingKeyId[]];
    const record = records.get(edited) as BackingKeyRecord;
    // However often the record is read again, what is decided on is not there.
    Object.defineProperty(records, 'get', {
      value: (id: string) => (id === edited ? { ...record, version: 77 } : Map.prototype.get.call(records, id)),
    });
    const held = await hold();
    const reserved = reserveAll([edited, ...others]);
    await held.letGo();
    expect(await reserved).toEqual([
      { status: 'rejected', reason: expect.objectContaining(conflict) },
      ...others.map(() => first),
    ]);
    expect(await reservedOnDisk(edited)).toBe(0);
    expect(await reservedOnDisk(others[3] as BackingKeyId)).toBe(8);
  });

  test('fail for all where the store takes nothing more, and give numbers to nobody', async () => {
    await store.close();
    for (const one of await reserveAll(ids.slice(0, 3)))
      expect(one).toMatchObject({ status: 'rejected', reason: { failure: 'closed' } });
  });
});
