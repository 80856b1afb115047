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
  return new RememberingPolicy(statements);
}

/**
 * A class, since V8 keeps a getter of an object literal where only a collection of all of the heap looks, and with it all that the getter
 * knows: each policy that was forgotten long since (Node.js 24; measured: half of what a compilation takes).
 */
class RememberingPolicy implements WeighedPolicy {
  readonly statements: readonly CompiledStatement[];
  readonly maxBytes: number;
  readonly #answers: RememberedAnswers;
  readonly #compiledBytes: number;

  constructor(statements: readonly CompiledStatement[]) {
    this.statements = statements;
    this.#answers = new RememberedAnswers(statements);
    this.#compiledBytes = statements.reduce((sum, { bytes }) => sum + bytes, bytesPerPolicy);
    this.maxBytes = this.#compiledBytes + this.#answers.maxBytes;
  }

  get bytes(): number {
    return this.#compiledBytes + this.#answers.bytes;
  }

  applicableTo(action: string, resource: string): ApplicableStatements {
    return this.#answers.applicableTo(action, resource);
  }
}

/** Of the policy itself, its maps and the objects that its statements share. */
const bytesPerPolicy = 4096;
