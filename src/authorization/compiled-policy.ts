/**
 * A policy in the form in which decisions are made: no text is looked at again after this.
 *
 * The steps are `policy-json.ts` (text to values), `policy-document.ts` and `policy-statement.ts` (values to this form, or
 * a refusal that says where), `applicable-statements.ts` (what a policy says of one action on one resource, by principal,
 * remembered) and `decide.ts` (the decision). An element that is added to the language gets a member of
 * `CompiledStatement`, a row in the table of elements of `policy-statement.ts`, and its place in `applicable-statements.ts`
 * if it depends on action and resource alone, or in `decide.ts` if it depends on the request.
 */

import type { ApplicableStatements } from './applicable-statements.ts';
import type { StatementReference } from './decision.ts';
import type { Matcher } from './wildcard.ts';

/** Whom a statement names, among the principals that can exist in this realm. */
export interface StatementPrincipals {
  /** `"*"`: every caller. */
  readonly anyone: boolean;
  /** The account that owns the key, by its id or its root's ARN. */
  readonly account: boolean;
  /** ARNs of users, roles and sessions of this account. */
  readonly named: ReadonlySet<string>;
}

export interface CompiledStatement {
  readonly reference: StatementReference;
  readonly effect: 'Allow' | 'Deny';
  readonly principals: StatementPrincipals;
  /** Takes the action in lower case. */
  readonly matchesAction: Matcher;
  readonly matchesResource: Matcher;
}

/** A key policy, parsed and validated. */
export interface CompiledPolicy {
  readonly statements: readonly CompiledStatement[];
  /** What this policy says of an action on a resource; remembered, so that asking again costs a look-up. */
  readonly applicableTo: (action: string, resource: string) => ApplicableStatements;
}
