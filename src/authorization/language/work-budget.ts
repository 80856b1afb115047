/**
 * How much one decision may compute.
 *
 * Whoever may create a key writes its policy, 32 KB of it, and whoever calls chooses values of up to 16 KB to compare with
 * it. Every comparison is linear, but there can be thousands of patterns and thousands of values: without a bound, the two
 * together keep the daemon busy for seconds and everybody else waiting. So each comparison is paid for, in steps, before it
 * is made, and a request that has spent its steps is refused. That a part of the policies was not looked at must never let
 * anybody in, so it is the request that ends, not the comparison. And what a policy could cost at most is known when it is
 * put (`worst-case.ts`), so that one that nobody could use for long values is refused to its author.
 *
 * A step is the work for one character of a pattern match, some 5 ns; look-ups of whole texts, which are most of what
 * policies compare, cost next to nothing whatever their number.
 */

import { KmsError } from '../../kms/errors.ts';

export interface WorkBudget {
  /** @throws KmsError `LimitExceededException` when the decision may not take so many steps more. */
  spend(steps: number): void;
}

/** What it takes to find the values of a condition key once more, or a statement that is filed. */
export const stepsPerLook = 8;
/** A value, and one of several patterns: to look it up, or to see that it does not begin or end as the pattern does. */
export const stepsPerPattern = 3;
/** The preparation of anything that is not just looked up: a text to be parsed, a pattern to be made. */
export const stepsPerPreparation = 64;

/** A grant that is judged: eight pairs of an encryption context and a dozen operations. */
export const stepsPerGrant = 64;

/** How many values there can be, and how many characters all of them have together. */
export interface Room {
  readonly values: number;
  readonly characters: number;
}

/** What comparing such values costs at most, in steps. */
export type Price = (room: Room) => number;

export function tooMuchWork(): KmsError {
  return new KmsError(
    'LimitExceededException',
    'The values of this request are too long or too many to be compared with the policies that apply to it.',
  );
}

/** For what is compared when a document is read, and not at a caller's request. */
export const unbounded: WorkBudget = { spend: () => undefined };
