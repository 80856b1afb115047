/** Patterns with wildcards as sequences of texts and wildcards, and what they are compiled to. */

import type { WorkBudget } from './work-budget.ts';

/** @param budget Pays for each look at a text that is longer than its beginning and its end. */
export type Matcher = (text: string, budget?: WorkBudget) => boolean;

/** Where wildcards may not cross a `:`, or `undefined` where they match everything. */
export type Segments = 'arn' | undefined;

/** A pattern in parts: texts that stand for themselves, and wildcards. What a policy variable stands for is a text. */
export type PatternPart = { readonly text: string } | { readonly wildcard: '*' | '?' };

/** A part for `priceOfParts`: a text that may also be shorter, down to nothing. */
export type PricedPart = PatternPart | { readonly text: string; readonly isLongest: true };

/** The parts of a pattern in which every `*` and `?` is a wildcard. */
export function patternParts(pattern: string): readonly PatternPart[] {
  if (pattern !== '' && !pattern.includes('*') && !pattern.includes('?')) return [{ text: pattern }];
  return (pattern.match(/\*+|\?|[^*?]+/g) ?? []).map((part) => {
    if (part === '?') return { wildcard: '?' };
    return part.startsWith('*') ? { wildcard: '*' } : { text: part };
  });
}
