/** Names that went, first in, first out. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RecentNames } from '../../src/hsm/recent-names.ts';
import { newKeyId } from '../../src/kms/names.ts';

test('the last ones are there, and nothing else, whatever was added again, deleted and cleared', () => {
  const step = fc.noBias(fc.record({ name: fc.nat(60), does: fc.nat(200) }));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.array(step, { maxLength: 600, size: 'max' }), (max, steps) => {
      const recent = new RecentNames(max);
      let plainly: string[] = [];
      for (const { name: number, does } of steps) {
        const name = `name ${number}`;
        if (does === 0) {
          recent.clear();
          plainly = [];
        } else if (does < 50) {
          expect(recent.delete(name)).toBe(plainly.includes(name));
          plainly = plainly.filter((each) => each !== name);
        } else {
          recent.add(name);
          plainly = [...plainly.filter((each) => each !== name), name].slice(-max);
        }
        expect(recent.has(name)).toBe(plainly.includes(name));
      }
      for (let number = 0; number <= 60; number++)
        expect(recent.has(`name ${number}`)).toBe(plainly.includes(`name ${number}`));
    }),
  );
});

test('the ids of keys are told apart', () => {
  const recent = new RecentNames(40_000);
  const added = Array.from({ length: 40_000 }, newKeyId);
  for (const name of added) recent.add(name);
  expect(added.every((name) => recent.has(name))).toBe(true);
  // One of 100,000 others, on the average.
  expect(Array.from({ length: 40_000 }, newKeyId).filter((name) => recent.has(name)).length).toBeLessThan(10);
});
