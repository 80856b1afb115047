/**
 * A policy in the form in which decisions are made: no text is looked at again after this.
 *
 * The steps are `policy-json.ts` (text to values), `policy-document.ts` and `policy-statement.ts` (values to this form, or
 * a refusal that says where), `applicable-statements.ts` (what a policy says of one action on one resource, by principal,
 * remembered) and `decide.ts` (the decision). An element that depends on action and resource alone goes into
 * `matchesAction` and `matchesResource`, one that depends on the request into `holds`.
 */

import type { ApplicableStatements } from './applicable-statements.ts';
import type { AccessQuestion, StatementReference } from './decision.ts';
import type { Matcher } from './wildcard.ts';

/** Whom a statement names, among the principals that can exist in this realm. */
export interface StatementPrincipals {
  /** `"*"`: every caller. Also `NotPrincipal`, whose exceptions are part of `holds`, and every identity policy. */
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
  /** Of a resource with policy variables, true: `holds` looks again. */
  readonly matchesResource: Matcher;
  /** What only the request tells: conditions, resources with policy variables, exceptions. Absent: nothing of that kind. */
  readonly holds?: ((question: AccessQuestion) => boolean) | undefined;
}

/** A policy, parsed and validated. */
export interface CompiledPolicy {
  readonly statements: readonly CompiledStatement[];
  /** What this policy says of an action on a resource; remembered, so that asking again costs a look-up. */
  readonly applicableTo: (action: string, resource: string) => ApplicableStatements;
}
