/** Which wrapped keys a lane keeps: bounded, nothing lost of what is to be destroyed, and not displaced by whoever uses many keys once. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KeptKeys } from '../../src/hsm/kept-keys.ts';

/** As a host does with each call (`unwrapped-keys.ts`): uses what is there, or keeps it. Was it there? */
function use(kept: KeptKeys<string>, name: string, gone: string[] = []): boolean {
  if (kept.use(name) !== undefined) return true;
  const left = kept.keep(name, name);
  if (left !== undefined) gone.push(left);
  return false;
}

const names = (prefix: string, count: number) => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

test('never more than its bound is kept, the newest always, and each that is not is given back once to be destroyed', () => {
  const uses = fc.array(fc.record({ name: fc.nat(40), drops: fc.nat(9) }), { maxLength: 400, size: 'max' });
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

/** The rule of `kept-keys.ts` told in the plainest way: lists that are searched from the beginning. */
class PlainlyKept {
  residents: { name: string; wasUsed: boolean }[] = [];
  visitors: { name: string; wasUsed: boolean }[] = [];
  names: string[] = [];
  readonly #maxVisitors: number;
  readonly #maxResidents: number;
  readonly #fillsAtOnce: boolean;

  constructor(max: number, fillsAtOnce: boolean) {
    this.#fillsAtOnce = fillsAtOnce;
    this.#maxVisitors = Math.min(32, Math.floor(max / 4));
    this.#maxResidents = max - this.#maxVisitors;
  }

  use(name: string): boolean {
    const kept = [...this.residents, ...this.visitors].find((each) => each.name === name);
    if (kept !== undefined) kept.wasUsed = true;
    return kept !== undefined;
  }

  keep(name: string): string | undefined {
    const came = this.names.includes(name);
    if (this.#fillsAtOnce && this.residents.length < this.#maxResidents) return this.#settle(name);
    if (came) this.names = this.names.filter((each) => each !== name);
    if (came || this.#maxVisitors === 0) return this.#settle(name);
    this.visitors.push({ name, wasUsed: false });
    if (this.visitors.length <= this.#maxVisitors) return undefined;
    const left = this.visitors.shift();
    if (left?.wasUsed === true) return this.#settle(left.name);
    this.names = [...this.names.filter((each) => each !== left?.name), left?.name ?? ''].slice(-2 * this.#maxResidents);
    return left?.name;
  }

  drop(name: string): void {
    this.residents = this.residents.filter((each) => each.name !== name);
    this.visitors = this.visitors.filter((each) => each.name !== name);
  }

  #settle(name: string): string | undefined {
    let gone: string | undefined;
    for (let full = this.residents.length >= this.#maxResidents; full && gone === undefined; ) {
      const first = this.residents.shift();
      if (first?.wasUsed === true) this.residents.push({ ...first, wasUsed: false });
      else gone = first?.name;
    }
    this.residents.push({ name, wasUsed: false });
    return gone;
  }
}

test('what goes is what has waited longest of those that were not used, whatever came, went and was forgotten before', () => {
  // Small numbers are no more frequent than others: what is cleared all the time never comes to what is remembered.
  const step = fc.noBias(fc.record({ name: fc.nat(60), drops: fc.nat(12), clears: fc.nat(400) }));
  const steps = fc.array(step, { maxLength: 800, size: 'max' });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.boolean(), steps, (max, fillsAtOnce, all) => {
      const kept = new KeptKeys<string>(max, { fillsAtOnce });
      let plainly = new PlainlyKept(max, fillsAtOnce);
      for (const { name: number, drops, clears } of all) {
        const name = String(number);
        if (clears === 0) {
          kept.clear();
          plainly = new PlainlyKept(max, fillsAtOnce);
        } else if (drops === 0) {
          kept.drop(name);
          plainly.drop(name);
        } else {
          const isThere = plainly.use(name);
          expect(kept.use(name) !== undefined).toBe(isThere);
          if (!isThere) expect(kept.keep(name, name)).toBe(plainly.keep(name));
        }
      }
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

test('a key that was there not long ago is known, among twice as many others as are kept', () => {
  const kept = new KeptKeys<string>(64);
  for (const name of names('before', 64)) use(kept, name);
  use(kept, 'visitor');
  for (const name of names('other', 100)) use(kept, name);
  expect([kept.has('visitor'), kept.knows('visitor')]).toEqual([false, true]);
  for (const name of names('yet another', 200)) use(kept, name);
  expect([kept.has('visitor'), kept.knows('visitor')]).toEqual([false, false]);
});

test.each([
  [
    'keys that come and are destroyed',
    (kept: KeptKeys<string>, at: number) => {
      kept.drop(`key${at - 1}`);
      return `key${at}`;
    },
  ],
  ['keys that are too many for a lane and not for two', (_: KeptKeys<string>, at: number) => `key${at % 1500}`],
])('%s take no more memory, however long that goes on', (_what, next) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const kept = new KeptKeys<string>();
  let at = 0;
  const heapAfter = (calls: number): number => {
    for (const end = at + calls; at < end; at++) {
      const name = next(kept, at);
      if (kept.use(name) === undefined) kept.keep(name, name);
    }
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = heapAfter(20_000);
  expect(heapAfter(400_000) - before).toBeLessThan(4e6);
});
