import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, onTestFinished } from 'vitest';
import { numbersOfStart } from '../../src/daemon/milestones.ts';
import {
  defaultEncryptionLimits,
  EncryptionCounter,
  maxEncryptionsPerBackingKey,
  type NumberSource,
  nextBlock,
} from '../../src/keys/encryption-counter.ts';

import { canHaveStartNumbers, maxCountedStarts, numbersPerStart, StartNumbers } from '../../src/keys/start-numbers.ts';
import { type BackingKeyId, type KeyId, newBackingKeyId, newKeyId } from '../../src/kms/names.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { formerRegion, testMacs } from '../store/records.ts';

const [keyId, backingKeyId] = [newKeyId(), newBackingKeyId()];

function counterOf(
  reserved: number,
  { takeOfStart, ...source }: Partial<NumberSource> & Pick<NumberSource, 'limits' | 'reserveBlock'>,
): EncryptionCounter {
  const hasStartNumbers = takeOfStart !== undefined;
  const all = { runOut: () => undefined, takeOfStart: takeOfStart ?? (() => undefined), ...source };
  return new EncryptionCounter(reserved, { keyId, backingKeyId, hasStartNumbers }, all);
}

/** A counter over a store that only remembers what was written. */
function counterWith({ reserved = 0, block = 8, limit = 20 } = {}) {
  const written: number[] = [];
  const limits = { maxEncryptionsPerBackingKey: limit, reservationBlock: block };
  const counter = counterOf(reserved, {
    limits,
    reserveBlock: async () => {
      const next = nextBlock(written.at(-1) ?? reserved, limits);
      if (next === undefined) return undefined;
      written.push(next.to);
      counter.follow(next.to);
      return next;
    },
  });
  return { counter, written };
}

/** Takes as many numbers as there are, as the callers do. */
async function takeAll(counter: EncryptionCounter): Promise<number> {
  let taken = 0;
  for (;;) {
    if (counter.tryTake()) taken++;
    else if (!(await counter.reserve())) return taken;
  }
}

describe('the encryption counter', () => {
  it('stays below 2^32 encryptions under one backing key', () => {
    expect(maxEncryptionsPerBackingKey).toBeLessThan(2 ** 32);
    expect(defaultEncryptionLimits.maxEncryptionsPerBackingKey).toBe(maxEncryptionsPerBackingKey);
  });

  it('gives no number before a block is on disk', async () => {
    const { counter, written } = counterWith();
    expect(counter.tryTake()).toBe(false);
    await counter.reserve();
    expect(written).toEqual([8]);
    expect(counter.tryTake()).toBe(true);
  });

  it('gives exactly as many numbers as the limit allows, and then none for ever', async () => {
    const { counter, written } = counterWith();
    expect(await takeAll(counter)).toBe(20);
    expect(written.at(-1)).toBe(20);
    expect(await counter.reserve()).toBe(false);
    expect(counter.tryTake()).toBe(false);
  });

  it('counts everything that was reserved before a restart as used', async () => {
    const { counter } = counterWith({ reserved: 16 });
    expect(counter.tryTake()).toBe(false);
    expect(await takeAll(counter)).toBe(4);
  });

  it('reserves one block for all who wait at the same time', async () => {
    const { counter, written } = counterWith();
    await Promise.all([counter.reserve(), counter.reserve(), counter.reserve()]);
    expect(written).toEqual([8]);
  });

  it('reserves the next block before the last one is used up', async () => {
    const { counter, written } = counterWith({ limit: 100 });
    await counter.reserve();
    for (let taken = 0; taken < 6; taken++) counter.tryTake();
    expect(written).toEqual([8, 16]);
  });

  it('gives no number when the reservation cannot be written, and tries again for the next caller', async () => {
    let broken = true;
    const counter = counterOf(0, {
      limits: { maxEncryptionsPerBackingKey: 20, reservationBlock: 8 },
      reserveBlock: async () => {
        if (broken) throw new Error('disk full');
        return { from: 0, to: 8 };
      },
    });
    await expect(counter.reserve()).rejects.toThrow('disk full');
    expect(counter.tryTake()).toBe(false);
    broken = false;
    expect(await counter.reserve()).toBe(true);
    expect(counter.tryTake()).toBe(true);
  });
});

describe('the numbers of a start', () => {
  const [one, other, elsewhere] = ['00000aaa', '00000bbb', '00001aaa'].map(
    (begin) => `${begin}${'0'.repeat(24)}` as BackingKeyId,
  ) as [BackingKeyId, BackingKeyId, BackingKeyId];

  it('are as many as were counted on record, for all keys that come to one place together, and are not given again', () => {
    const numbers = new StartNumbers(3, true);
    expect(numbers.ofAllStarts).toBe(3 * numbersPerStart);
    let taken = 0;
    for (let asked = 0; asked < numbersPerStart; asked++)
      for (const id of [one, other]) if (numbers.tryTake(id) !== undefined) taken++;
    expect(taken).toBe(numbersPerStart);
    for (const id of [one, other]) expect(numbers.tryTake(id)).toBeUndefined();
    expect(numbers.tryTake(elsewhere)).toBe(numbersPerStart - 1);
    expect(new StartNumbers(3, false).tryTake(elsewhere)).toBeUndefined();
  });

  it('come before a block on disk, which is reserved before they are used up, and leave no more to the limit', async () => {
    const numbers = new StartNumbers(1, true);
    const written: number[] = [];
    const limits = { maxEncryptionsPerBackingKey: 20, reservationBlock: 8 };
    const make = (reserved: number): EncryptionCounter => {
      const reserveBlock = async () => {
        const next = nextBlock(written.at(-1) ?? reserved, limits);
        if (next !== undefined) written.push(next.to);
        return next;
      };
      return counterOf(reserved, { limits, reserveBlock, takeOfStart: () => numbers.tryTake(one) });
    };
    let taken = 0;
    // One that was put out of memory begins where it was.
    for (let life = 0; life < numbersPerStart / 2; life++) if (make(0).tryTake()) taken++;
    expect(written).toEqual([]);
    const counter = make(0);
    while (written.length === 0 && counter.tryTake()) taken++;
    expect(taken).toBeLessThan(numbersPerStart);
    await counter.reserve();
    counter.follow(8);
    for (; counter.tryTake(); taken++) counter.follow(written.at(-1) ?? 0);
    expect(taken).toBeLessThanOrEqual(numbersPerStart + 8);
    const beyond = counterOf(21, { limits, reserveBlock: async () => undefined, takeOfStart: () => 1 });
    expect(beyond.tryTake()).toBe(false);
  });

  it('are counted on record by each start that gives any, and an edited count is no count', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'drawbridge-starts-')), 'metadata.db');
    onTestFinished(() => rmSync(dirname(path), { recursive: true }));
    const started = async (isOnDemand: boolean): Promise<number> => {
      const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
      try {
        return (await numbersOfStart(new Turns(store), await store.load(), { isOnDemand, nowMs: 1 })).ofAllStarts;
      } finally {
        await store.close();
      }
    };
    expect(await started(false)).toBe(0);
    for (const starts of [1, 2]) expect(await started(true)).toBe(starts * numbersPerStart);
    expect(await started(false)).toBe(2 * numbersPerStart);
    const database = new DatabaseSync(path);
    expect(database.prepare("update milestone set version = 1 where milestone = 'start'").run().changes).toBe(1);
    database.close();
    for (const isOnDemand of [false, true])
      await expect(started(isOnDemand)).rejects.toMatchObject({ name: 'StoreError', failure: 'damaged' });
  });

  it('are counted no more after so many starts that a key would lose a notable part of its limit', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'drawbridge-starts-')), 'metadata.db');
    onTestFinished(() => rmSync(dirname(path), { recursive: true }));
    const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
    onTestFinished(() => store.close());
    const counted = { milestone: 'start', version: maxCountedStarts, reachedAtMs: 1, ranMs: 0 };
    const found = { milestone: [counted], quarantined: [] };
    const numbers = await numbersOfStart(new Turns(store), found, { isOnDemand: true, nowMs: 2 });
    expect(numbers.ofAllStarts).toBe(2 ** 28);
    expect(numbers.tryTake('0'.repeat(32) as BackingKeyId)).toBeUndefined();
    expect((await store.load()).milestone).toEqual([]);
  });

  it('are for material that is counted in one place alone', () => {
    const record = { keyId: '11111111-2222-3333-4444-555555555555' as KeyId, importedMaterialId: '' };
    expect(canHaveStartNumbers(record)).toBe(true);
    expect(canHaveStartNumbers({ ...record, keyId: `mrk-${'1'.repeat(32)}` as KeyId })).toBe(false);
    expect(canHaveStartNumbers({ ...record, importedMaterialId: 'd5b8' })).toBe(false);
  });
});
