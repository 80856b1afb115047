/** Which wrapped keys a lane keeps: bounded, nothing lost of what is to be destroyed, and not displaced by whoever uses many keys once. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KeptKeys } from '../../src/hsm/kept-keys.ts';

/** As a host does with each call (`unwrapped-keys.ts`): uses what is there, or puts it in place of what may be. Was it there? */
function use(kept: KeptKeys<string>, name: string, gone: string[] = []): boolean {
  if (kept.use(name) !== undefined) return true;
  kept.drop(name);
  const left = kept.keep(name, name);
  if (left !== undefined) gone.push(left);
  return false;
}

const names = (prefix: string, count: number) => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

test('never more than its bound is kept, the newest always, and each that is not is given back once to be destroyed', () => {
  const uses = fc.array(fc.record({ name: fc.nat(40), drops: fc.nat(9) }), { maxLength: 400 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 24 }), uses, (max, all) => {
      const kept = new KeptKeys<string>(max);
      const there = new Set<string>();
      for (const { name: number, drops } of all) {
        const name = String(number);
        if (drops === 0) {
          expect(kept.drop(name)).toBe(there.delete(name) ? name : undefined);
          continue;
        }
        const gone: string[] = [];
        expect(use(kept, name, gone)).toBe(there.has(name));
        there.add(name);
        for (const each of gone) expect(each !== name && there.delete(each)).toBe(true);
        expect(kept.count).toBe(there.size);
        expect(kept.count).toBeLessThanOrEqual(max);
      }
      for (const name of there) expect(kept.get(name)).toBe(name);
    }),
  );
});

test('who goes through many keys displaces none that others use meanwhile', () => {
  const kept = new KeptKeys<string>(64);
  const often = names('often', 40);
  for (const name of [...often, ...names('before', 24), ...often]) use(kept, name);
  const missed = names('once', 10_000).filter((name, index) => {
    use(kept, name);
    return !use(kept, often[index % often.length] ?? '');
  });
  expect(missed).toEqual([]);
});

test('as many keys as there is room for are kept from the second time on, whatever was kept before', () => {
  const kept = new KeptKeys<string>(64);
  for (const name of names('before', 500)) use(kept, name);
  const now = names('now', 48);
  for (let round = 0; round < 2; round++) for (const name of now) use(kept, name);
  expect(now.filter((name) => !use(kept, name))).toEqual([]);
});

test('of more keys than there is room for, used in turn, a part is kept and not all displaced by one another', () => {
  const kept = new KeptKeys<string>(64);
  const all = names('key', 256);
  const found = () => all.filter((name) => use(kept, name)).length;
  for (let round = 0; round < 4; round++) found();
  expect(found()).toBeGreaterThanOrEqual(32);
});
