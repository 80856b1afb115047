/**
 * How much one decision may compute.
 *
 * Whoever may create a key writes its policy, 32 KB of it, and whoever calls chooses values of up to 16 KB to compare with
 * it. Every comparison is linear, but there can be thousands of patterns and thousands of values: without a bound, the two
 * together keep the daemon busy for seconds and everybody else waiting. So each comparison is paid for, in steps, before it
 * is made, and a request that has spent its steps is refused. That a part of the policies was not looked at must never let
 * anybody in, so it is the request that ends, not the comparison.
 *
 * A step is the work for one character of a pattern match, some 5 to 10 ns; a decision that spends all of them takes a few
 * milliseconds. Honest requests are far from that: a thousand patterns against a value of 100 characters take some 110,000
 * steps; look-ups of whole texts, which are most of what policies compare, cost next to nothing whatever their number.
 */

import { KmsError } from '../../kms/errors.ts';

export interface WorkBudget {
  /** @throws KmsError `LimitExceededException` when the decision may not take so many steps more. */
  spend(steps: number): void;
}

/** Of one decision. */
export const maxSteps = 2 ** 19;

/** A comparison with one value, and what it takes to find the value of a condition key once more. */
export const stepsPerLook = 8;
/** The preparation of anything that is not just looked up: a text to be parsed, a pattern to be made. */
export const stepsPerPreparation = 64;

/** A grant that is judged: eight pairs of an encryption context and a dozen operations. */
export const stepsPerGrant = 64;

export function tooMuchWork(): KmsError {
  return new KmsError(
    'LimitExceededException',
    'The values of this request are too long or too many to be compared with the policies that apply to it.',
  );
}

/** For what is compared when a document is read, and not at a caller's request. */
export const unbounded: WorkBudget = { spend: () => undefined };
