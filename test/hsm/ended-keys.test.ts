/** What has ended is found out by whoever holds it, however he came by it, and by nobody else; and nothing is kept for those who are gone. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EndedKeys } from '../../src/hsm/ended-keys.ts';
import { WrappedKey, type WrappedKeyOutline } from '../../src/hsm/wrapped-key.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';

const domainKeyId = newBackingKeyId();
const ids = Array.from({ length: 8 }, newBackingKeyId);

const outlineOf = (blob: number): WrappedKeyOutline => ({
  ...{ domainKeyId, keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT', publicKey: null },
  blob: Buffer.alloc(41, blob),
});

interface Held {
  readonly wrapped: WrappedKey;
  readonly id: number;
  readonly blob: number;
  hasEnded: boolean;
}

test('whoever holds a key that was wrapped anew or destroyed since can use it no more, and all others can', () => {
  const step = fc.record({
    id: fc.nat(ids.length - 1),
    does: fc.constantFrom('take', 'end', 'wrap anew', 'write', 'look', 'ends of many others'),
    blob: fc.nat(3),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
      const ended = new EndedKeys();
      const onRecord = new Map<number, number>();
      const held: Held[] = [];
      const now = (id: number): number => onRecord.get(id) ?? 0;
      const note = (id: number, blob: number | undefined): void => {
        ended.note(ids[id] as BackingKeyId, blob === undefined ? undefined : outlineOf(blob));
        for (const each of held) if (each.id === id && each.blob !== blob) each.hasEnded = true;
        if (blob !== undefined) onRecord.set(id, blob);
      };
      for (const { id, does, blob } of steps) {
        if (does === 'take') {
          const backingKeyId = ids[id] as BackingKeyId;
          const wrapped = new WrappedKey(outlineOf(now(id)), { backingKeyId, from: ended.end });
          held.push({ wrapped, id, blob: now(id), hasEnded: false });
        } else if (does === 'end') note(id, undefined);
        else if (does === 'wrap anew') note(id, blob);
        else if (does === 'write') note(id, now(id));
        else if (does === 'look') for (const each of held) if (each.id === id) void each.wrapped.outline;
        if (does === 'ends of many others') for (let n = 0; n < 300; n++) ended.note(newBackingKeyId(), undefined);
      }
      for (const { wrapped, blob, hasEnded } of held)
        expect(wrapped.outline).toEqual(hasEnded ? undefined : outlineOf(blob));
    }),
  );
});

test('a key that ended stays so when what is on record is the same again', () => {
  const ended = new EndedKeys();
  const [backingKeyId] = ids as [BackingKeyId];
  const early = new WrappedKey(outlineOf(1), { backingKeyId, from: ended.end });
  ended.note(backingKeyId, undefined);
  ended.note(backingKeyId, outlineOf(1));
  const late = new WrappedKey(outlineOf(1), { backingKeyId, from: ended.end });
  expect([early.outline, late.outline]).toEqual([undefined, outlineOf(1)]);
});

test('what ended is in memory for as long as somebody may hold it', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const ended = new EndedKeys();
  const noted: WeakRef<object>[] = [];
  const end = (count: number): void => {
    for (let n = 0; n < count; n++) {
      const outline = outlineOf(2);
      noted.push(new WeakRef(outline));
      ended.note(newBackingKeyId(), outline);
    }
  };
  const there = async (): Promise<number> => {
    await new Promise((resolve) => setImmediate(resolve)); // What was looked at in this turn stays to its end.
    collect();
    return noted.filter((each) => each.deref() !== undefined).length;
  };
  const [backingKeyId] = ids as [BackingKeyId];
  const holder = new WrappedKey(outlineOf(1), { backingKeyId, from: ended.end });
  end(3000);
  expect(await there()).toBe(3000);
  // It has read all of it then, as one in memory need not.
  expect(holder.outline).toBeDefined();
  expect(await there()).toBeLessThanOrEqual(256);
  end(3000);
  holder.readFrom(ended.end);
  expect(await there()).toBeLessThanOrEqual(256);
  expect(holder.outline).toBeDefined();
});
