import { describe, expect, it } from 'vitest';
import {
  defaultEncryptionLimits,
  EncryptionCounter,
  maxEncryptionsPerBackingKey,
  nextBlock,
} from '../../src/keys/encryption-counter.ts';

/** A counter over a store that only remembers what was written. */
function counterWith({ reserved = 0, block = 8, limit = 20 } = {}) {
  const written: number[] = [];
  const limits = { maxEncryptionsPerBackingKey: limit, reservationBlock: block };
  const counter: EncryptionCounter = new EncryptionCounter(
    reserved,
    async () => {
      const next = nextBlock(written.at(-1) ?? reserved, limits);
      if (next === undefined) return undefined;
      written.push(next.to);
      counter.follow(next.to);
      return next;
    },
    limits,
  );
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
    const counter = new EncryptionCounter(
      0,
      async () => {
        if (broken) throw new Error('disk full');
        return { from: 0, to: 8 };
      },
      { maxEncryptionsPerBackingKey: 20, reservationBlock: 8 },
    );
    await expect(counter.reserve()).rejects.toThrow('disk full');
    expect(counter.tryTake()).toBe(false);
    broken = false;
    expect(await counter.reserve()).toBe(true);
    expect(counter.tryTake()).toBe(true);
  });
});
