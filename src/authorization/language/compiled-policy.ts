/**
 * A policy in the form in which decisions are made: no text is looked at again after this.
 *
 * The steps are `policy-json.ts` (text to values), `policy-document.ts` and `policy-statement.ts` (values to this form, or
 * a refusal that says where), `applicable-statements.ts` (what a policy says of one action on one resource, by principal,
 * remembered), `filed-statements.ts` (which of that can hold for a request) and, above the language, `decide.ts` (the
 * decision).
 */

import { type ApplicableStatements, RememberedAnswers } from './applicable-statements.ts';
import type { CompiledStatement } from './compiled-statement.ts';

/** A policy, parsed and validated. */
export interface CompiledPolicy {
  readonly statements: readonly CompiledStatement[];
  /** What this policy says of an action on a resource; remembered, so that asking again costs a look-up. */
  applicableTo(action: string, resource: string): ApplicableStatements;
}

/** A policy whose memory can be told. */
export interface WeighedPolicy extends CompiledPolicy {
  /** What it takes at most, now; it becomes more as it is asked. */
  readonly bytes: number;
  /** What it can come to take. */
  readonly maxBytes: number;
}

export function policyOf(statements: readonly CompiledStatement[]): WeighedPolicy {
  const answers = new RememberedAnswers(statements);
  const compiledBytes = statements.reduce((sum, { bytes }) => sum + bytes, bytesPerPolicy);
  return {
    statements,
    applicableTo: (action, resource) => answers.applicableTo(action, resource),
    get bytes() {
      return compiledBytes + answers.bytes;
    },
    maxBytes: compiledBytes + answers.maxBytes,
  };
}

/** Of the policy itself, its maps and the objects that its statements share. */
const bytesPerPolicy = 4096;
