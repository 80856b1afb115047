/** A set of words in one array is the set that it stands for, whatever comes, goes and stands close together. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HashSet } from '../../src/store/hash-set.ts';

type Words = readonly [number, number, number];

/** The first word says where it stands: some stand in one place, and some at either end of the array. */
const words: fc.Arbitrary<Words> = fc.tuple(
  fc.oneof(fc.constantFrom(0, 1, 2, 0xffff_fffe, 0xffff_ffff), fc.nat({ max: 0xffff_ffff })),
  fc.constantFrom(0, 7),
  fc.constantFrom(0, 9),
);

test('what was added and not deleted is there, and nothing else', () => {
  const act = fc.record({ isDeletion: fc.boolean(), words });
  fc.assert(
    fc.property(
      fc.array(act, { maxLength: 300, size: 'max' }),
      fc.array(words),
      fc.nat(3000),
      (acts, others, expected) => {
        const set = new HashSet(expected);
        const model = new Set<string>();
        // 0 and 1 as a first word are one: a free place has 0.
        const nameOf = ([first, second, third]: Words) => `${first || 1} ${second} ${third}`;
        for (const { isDeletion, words } of acts) {
          if (isDeletion) set.delete(...words);
          else set.add(...words);
          if (isDeletion) model.delete(nameOf(words));
          else model.add(nameOf(words));
        }
        expect(set.size).toBe(model.size);
        for (const each of [...acts.map(({ words }) => words), ...others])
          expect(set.has(...each)).toBe(model.has(nameOf(each)));
      },
    ),
  );
});

test('many are there after it has grown', () => {
  const set = new HashSet();
  const nth = (number: number): Words => [Math.imul(number, 0x9e3779b1) >>> 0, number, ~number >>> 0];
  for (let number = 1; number <= 50_000; number++) set.add(...nth(number));
  expect(set.size).toBe(50_000);
  for (let number = 1; number <= 50_000; number++) expect(set.has(...nth(number))).toBe(true);
  for (let number = 50_001; number <= 60_000; number++) expect(set.has(...nth(number))).toBe(false);
});
