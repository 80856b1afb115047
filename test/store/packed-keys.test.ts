/** Keys in few bytes: what comes out is what went in, and a line is there until it is taken out. */

import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import type { KeyId } from '../../src/kms/names.ts';
import { PackedKeys } from '../../src/store/packed-keys.ts';
import type { PackedKind, RowToPack } from '../../src/store/packed-rows.ts';
import { memberNames, toColumns } from '../../src/store/record-columns.ts';
import type { MetadataRecords } from '../../src/store/records/records.ts';
import { arbitraryRecord } from './arbitrary-records.ts';
import { examples } from './records.ts';

const region = 'us-east-1';
const room = 64 * 1024 * 1024;

function rowOf<Kind extends PackedKind>(kind: Kind, record: MetadataRecords[Kind]): RowToPack {
  const columns = toColumns(kind, record);
  return { kind, row: memberNames(kind).map((name) => columns[name]) };
}

const { key, keyPolicy, backingKey } = arbitraryRecord;
const rowsOfKey = fc
  .tuple(key, fc.option(keyPolicy), fc.array(backingKey, { maxLength: 3 }), fc.uuid())
  .map(([record, policy, materials, keyId]) => ({
    keyId: keyId as KeyId,
    // Most of them are of the key that they are packed for, as those of a sound file are.
    rows: [
      rowOf('key', { ...record, keyId: keyId as KeyId }),
      ...(policy === null ? [] : [rowOf('keyPolicy', { ...policy, keyId: keyId as KeyId })]),
      ...materials.map((material) => rowOf('backingKey', material)),
    ],
  }));

const idOf = (number: number, isOfSeveral = false): KeyId => {
  // Many begin alike, as no random ids do.
  const digits = `${(number % 3).toString(16).padStart(8, '0')}${number.toString(16).padStart(24, '0')}`;
  const parts = [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20)];
  return (isOfSeveral ? `mrk-${digits}` : parts.join('-')) as KeyId;
};

describe('A key that was packed', () => {
  test('says what it said, to the letter', () => {
    fc.assert(
      fc.property(rowsOfKey, fc.boolean(), ({ keyId, rows }, hasGrants) => {
        const keys = new PackedKeys(room);
        if (!keys.put(region, keyId, rows, hasGrants)) {
          expect(keys.get(region, keyId)).toBeUndefined();
          return;
        }
        expect(keys.get(region, keyId)).toEqual({ rows, hasGrants });
      }),
      { numRuns: 500 },
    );
  });

  test('takes a tenth of what its records do, where it is as most are', () => {
    const rows = (number: number): readonly RowToPack[] => [
      rowOf('key', { ...examples.key, keyId: idOf(number), tags: [] }),
      rowOf('keyPolicy', { ...examples.keyPolicy, keyId: idOf(number) }),
      rowOf('backingKey', { ...examples.backingKey, keyId: idOf(number), wrappedKey: Buffer.alloc(41, number) }),
    ];
    const mebibyte = 1024 * 1024;
    const keys = new PackedKeys(mebibyte);
    let count = 0;
    while (keys.put(region, idOf(count), rows(count), false)) count++;
    expect(keys.isFull).toBe(true);
    expect(mebibyte / count).toBeLessThan(350);
    // What goes makes room for another one.
    keys.take(idOf(7));
    expect(keys.put(region, idOf(count), rows(count), false)).toBe(true);
  });

  test('leaves nothing of its material in memory when it goes', () => {
    const wrappedKey = Buffer.from('a blob that is destroyed with its key');
    const made = vi.spyOn(Buffer, 'alloc');
    const keys = new PackedKeys(room);
    const { keyId } = examples.key;
    keys.put(region, keyId, [rowOf('backingKey', { ...examples.backingKey, wrappedKey })], false);
    // Where it was packed, the next one is put together: it is not looked for there.
    const blocks = made.mock.results.map(({ value }) => value as Buffer).filter(({ length }) => length > 4096);
    made.mockRestore();
    const isThere = () => blocks.some((block) => block.includes(wrappedKey));
    expect(isThere()).toBe(true);
    keys.take(keyId);
    expect(isThere()).toBe(false);
  });

  test('has a table of its own size from the beginning where it is known how many there will be, and no larger than there is room', () => {
    const bytesOf = (maxBytes: number): number => {
      const before = process.memoryUsage().arrayBuffers;
      const keys = new PackedKeys(maxBytes, 1_000_000);
      const bytes = process.memoryUsage().arrayBuffers - before;
      expect(keys.count).toBe(0);
      return bytes;
    };
    const mebibyte = 1024 * 1024;
    expect(bytesOf(512 * mebibyte)).toBeGreaterThan(7 * mebibyte);
    expect(bytesOf(0)).toBeLessThan(mebibyte);
  });

  test('is not packed where it is long', () => {
    const keys = new PackedKeys(room);
    const { keyId } = examples.key;
    const rows = (description: string) => [rowOf('key', { ...examples.key, description })];
    expect(keys.put(region, keyId, rows('x'.repeat(2000)), false)).toBe(false);
    expect(keys.get(region, keyId)).toBeUndefined();
    expect(keys.put(region, keyId, rows('x'.repeat(200)), false)).toBe(true);
  });
});

test('many keys of several Regions are found as in a map, while others come and go', () => {
  const regions = ['us-east-1', 'eu-west-1', 'eu-central-1'];
  const act = fc.record({
    act: fc.constantFrom('put', 'put', 'put', 'take', 'grants'),
    of: fc.nat({ max: 60 }),
    isOfSeveral: fc.boolean(),
    in: fc.constantFrom(...regions),
    hasGrants: fc.boolean(),
    length: fc.nat({ max: 120 }),
  });
  fc.assert(
    fc.property(fc.array(act, { maxLength: 400 }), (acts) => {
      const keys = new PackedKeys(room);
      const model = new Map<string, { rows: readonly RowToPack[]; hasGrants: boolean }>();
      for (const { act, of, isOfSeveral, in: where, hasGrants, length } of acts) {
        const keyId = idOf(of, isOfSeveral);
        const known = model.get(`${where} ${keyId}`);
        if (act === 'put') {
          const rows = [rowOf('key', { ...examples.key, keyId, region: where, description: 'd'.repeat(length) })];
          expect(keys.put(where, keyId, rows, hasGrants)).toBe(known === undefined);
          if (known === undefined) model.set(`${where} ${keyId}`, { rows, hasGrants });
        } else if (act === 'take') {
          const taken = regions.flatMap((each) => model.get(`${each} ${keyId}`)?.rows ?? []);
          expect(new Set(keys.take(keyId))).toEqual(new Set(taken));
          for (const each of regions) model.delete(`${each} ${keyId}`);
        } else {
          keys.noteGrants(where, keyId);
          if (known !== undefined) known.hasGrants = true;
        }
      }
      expect(keys.count).toBe(model.size);
      for (const where of regions)
        for (let of = 0; of <= 60; of++)
          for (const keyId of [idOf(of), idOf(of, true)])
            expect(keys.get(where, keyId)).toEqual(model.get(`${where} ${keyId}`));
    }),
    { numRuns: 60 },
  );
});

test('a hundred thousand keys are found, and none that was not put', () => {
  const keys = new PackedKeys(room);
  const rows = (keyId: KeyId) => [rowOf('keyPolicy', { ...examples.keyPolicy, keyId })];
  const count = 100_000;
  for (let number = 0; number < count; number++) keys.put(region, idOf(number), rows(idOf(number)), false);
  expect(keys.count).toBe(count);
  for (let number = 0; number < count; number += 997)
    expect(keys.get(region, idOf(number))?.rows).toEqual(rows(idOf(number)));
  for (const keyId of [idOf(count), idOf(3, true)]) expect(keys.has(region, keyId)).toBe(false);
  expect(keys.has('eu-west-1', idOf(3))).toBe(false);
});
