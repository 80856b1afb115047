/**
 * A policy in the form in which decisions are made: no text is looked at again after this.
 *
 * The steps are `policy-json.ts` (text to values), `policy-document.ts` and `policy-statement.ts` (values to this form, or
 * a refusal that says where), `applicable-statements.ts` (what a policy says of one action on one resource, by principal,
 * remembered), `filed-statements.ts` (which of that can hold for a request) and `decide.ts` (the decision). An element that
 * depends on action and resource alone goes into `matchesAction` and `matchesResource`, one that depends on the request
 * into `holds`.
 */

import type { AccessQuestion, StatementReference } from '../decision.ts';
import type { ApplicableStatements } from './applicable-statements.ts';
import type { TextForm } from './condition-operators.ts';
import type { ConditionKey } from './condition-vocabulary.ts';
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
  /** The parts of `holds`: it holds where all of them do. */
  readonly tests: readonly StatementTest[];
}

/** One thing that only the request tells, for explanations and for the linter. */
export interface StatementTest {
  readonly element: 'Condition' | 'NotPrincipal' | 'Resource' | 'NotResource';
  /** Of a condition, as it was written: `ForAnyValue:StringEquals`. */
  readonly operator?: string;
  /** Of a condition, as it was written: `kms:EncryptionContext:Department`. */
  readonly keyName?: string;
  /** Of a condition; absent where no request here has such a key. */
  readonly key?: ConditionKey | undefined;
  /** What the document says, with its policy variables. */
  readonly expected: readonly string[];
  readonly holds: (question: AccessQuestion) => boolean;
  /** Absent where the test can hold for values that nobody can list. */
  readonly requires?: RequiredTexts | undefined;
}

/** A test that holds only where the request has one of these texts as a value of the key; that may not be enough. */
export interface RequiredTexts {
  readonly key: ConditionKey;
  readonly form: TextForm;
  /** The texts, in that form. */
  readonly forms: ReadonlySet<string>;
}

/** A policy, parsed and validated. */
export interface CompiledPolicy {
  readonly statements: readonly CompiledStatement[];
  /** What this policy says of an action on a resource; remembered, so that asking again costs a look-up. */
  readonly applicableTo: (action: string, resource: string) => ApplicableStatements;
}
