import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { foldCase } from '../../src/kms/case-folding.ts';
import { areSamePairs, foldPairs, hasPairs, meaningOfPairs, textsOfPairs } from '../../src/kms/context-pairs.ts';
import type { EncryptionContextPairs } from '../../src/kms/grant-terms.ts';

/** Few names and values, so that contexts meet each other; most names are there in several spellings. */
const context: fc.Arbitrary<EncryptionContextPairs> = fc.dictionary(
  fc.constantFrom('a', 'A', 'ab', 'aB', 'AB', 'σ', 'ς', 'Σ', '__proto__', '__PROTO__'),
  fc.constantFrom('', '1', '"]'),
  { maxKeys: 4, noNullPrototype: false },
);
/** Of each name one spelling alone. */
const plainContext = context.map((pairs) =>
  Object.fromEntries(
    Object.entries(pairs).filter(
      ([name], index, all) => all.findIndex(([other]) => foldCase(other) === foldCase(name)) === index,
    ),
  ),
);
const numRuns = 2_000;
const has = (all: EncryptionContextPairs, wanted: EncryptionContextPairs): boolean =>
  hasPairs(foldPairs(all), foldPairs(wanted));
const are = (one: EncryptionContextPairs, other: EncryptionContextPairs): boolean =>
  areSamePairs(foldPairs(one), foldPairs(other));
const folded = (pairs: EncryptionContextPairs): ReadonlyMap<string, string> =>
  new Map(Object.entries(pairs).map(([name, value]) => [foldCase(name), value]));

describe('pairs of an encryption context', () => {
  test('are those that are asked for, in whatever case, where no name is there in two', () => {
    fc.assert(
      fc.property(plainContext, plainContext, (all, wanted) => {
        const there = folded(all);
        const isThere = [...folded(wanted)].every(([name, value]) => there.get(name) === value);
        expect(has(all, wanted)).toBe(isThere);
        expect(are(all, wanted)).toBe(isThere && there.size === folded(wanted).size);
      }),
      { numRuns },
    );
  });

  test('are not had by a context that would not have them without one of its spellings', () => {
    fc.assert(
      fc.property(context, plainContext, (all, wanted) => {
        fc.pre(has(all, wanted));
        for (const left of Object.keys(all)) {
          const others = Object.entries(all).filter(([name]) => name !== left);
          if (!others.some(([name]) => foldCase(name) === foldCase(left))) continue;
          expect(has(Object.fromEntries(others), wanted)).toBe(true);
        }
      }),
      { numRuns },
    );
  });

  test('that are asked for in two spellings are had to the letter', () => {
    fc.assert(
      fc.property(context, context, (all, wanted) => {
        fc.pre(has(all, wanted));
        for (const [name, value] of Object.entries(wanted)) {
          const isTwice = Object.keys(wanted).some((other) => other !== name && foldCase(other) === foldCase(name));
          if (isTwice) expect(Object.hasOwn(all, name) && all[name]).toBe(value);
        }
      }),
      { numRuns },
    );
  });

  test('are had by whatever has a context that has them', () => {
    fc.assert(
      fc.property(context, context, context, (all, some, few) => {
        fc.pre(has(all, some) && has(some, few));
        expect(has(all, few)).toBe(true);
      }),
      { numRuns: 500, maxSkipsPerRun: 1_000 },
    );
  });

  test('are found by their texts wherever they are had', () => {
    fc.assert(
      fc.property(context, context, (all, wanted) => {
        const texts = textsOfPairs(foldPairs(all));
        const asked = textsOfPairs(foldPairs(wanted));
        if (has(all, wanted)) expect(texts).toEqual(expect.arrayContaining(asked));
        if (are(all, wanted)) expect(texts.toSorted()).toEqual(asked.toSorted());
      }),
      { numRuns },
    );
  });

  test('have one meaning exactly where each of two contexts is the other one', () => {
    fc.assert(
      fc.property(context, context, (one, other) => {
        expect(meaningOfPairs(foldPairs(one)) === meaningOfPairs(foldPairs(other))).toBe(are(one, other));
      }),
      { numRuns },
    );
  });
});
