/**
 * Pairs of an encryption context as grant constraints compare them: names without regard to case, values to the letter.
 *
 * Two names that differ in case alone are one name to a constraint, so a context that has both says two things of it. Which
 * one AWS would take it for is not documented, beyond the advice not to do that; here such a context is never taken for what
 * only one of them says:
 *
 *   - a pair that is asked for under one spelling holds where the context has its name, and every spelling of it has its value;
 *   - where a name is asked for in several spellings, these very pairs have to be there, to the letter, and no other spelling.
 *
 * So nothing is allowed that would not be if the other spelling were left out, and `hasPairs` can be chained: what has all pairs
 * of a context that has all pairs of a third, has all pairs of the third. That keeps grants within the grant they come from.
 *
 * Source: AWS KMS API reference, GrantConstraints.
 */

import { foldCase, stepsToFold } from './case-folding.ts';
import type { EncryptionContextPairs } from './grant-terms.ts';

interface Pair {
  readonly name: string;
  readonly value: string;
}

/** By the folded name, which several spellings may have. None of the lists is empty. */
export type FoldedPairs = ReadonlyMap<string, readonly [Pair, ...Pair[]]>;

export function foldPairs(pairs: EncryptionContextPairs): FoldedPairs {
  const folded = new Map<string, [Pair, ...Pair[]]>();
  for (const [name, value] of Object.entries(pairs)) {
    const key = foldCase(name);
    const others = folded.get(key);
    if (others === undefined) folded.set(key, [{ name, value }]);
    else others.push({ name, value });
  }
  return folded;
}

/** What `foldPairs` costs, for a budget. */
export function stepsToFoldPairs(pairs: EncryptionContextPairs): number {
  let steps = 0;
  for (const name in pairs) steps += stepsToFold(name);
  return steps;
}

/** Does a context that has all of the first have what the second asks for? */
export function hasPairs(all: FoldedPairs, wanted: FoldedPairs): boolean {
  for (const [name, asked] of wanted) {
    const there = all.get(name);
    if (there === undefined || !isMet(there, asked)) return false;
  }
  return true;
}

function isMet(there: readonly Pair[], asked: readonly [Pair, ...Pair[]]): boolean {
  if (asked.length === 1) return there.every(({ value }) => value === asked[0].value);
  return (
    there.length === asked.length &&
    asked.every((pair) => there.some(({ name, value }) => name === pair.name && value === pair.value))
  );
}

/** The same pairs, and no others. */
export function areSamePairs(one: FoldedPairs, other: FoldedPairs): boolean {
  return one.size === other.size && hasPairs(one, other) && hasPairs(other, one);
}

/**
 * The pairs as texts by which they are found: a context has all texts of whatever it meets, and two that are the same to a
 * constraint have the same texts.
 */
export function textsOfPairs(pairs: FoldedPairs): string[] {
  return [...pairs].flatMap(([name, spellings]) => [
    ...new Set(spellings.map(({ value }) => JSON.stringify([name, value]))),
  ]);
}

/** One text for all pairs that ask for the same, and for no others. */
export function meaningOfPairs(pairs: FoldedPairs): string {
  const texts = [...pairs].flatMap(([folded, spellings]) =>
    spellings.map(({ name, value }) => JSON.stringify([spellings.length === 1 ? folded : name, value])),
  );
  return JSON.stringify(texts.sort());
}
