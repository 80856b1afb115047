/**
 * A statement in the form in which decisions are made, and what it may look at in a question.
 *
 * An element that depends on action and resource alone goes into `matchesAction` and `matchesResource`, one that depends on
 * the request into `holds`. The language knows of a question only what is declared here; whoever asks knows more.
 */

import type { PrincipalArn } from '../../kms/names.ts';
import type { TextForm } from './condition-operators.ts';
import type { ConditionKey, ConditionValues } from './condition-vocabulary.ts';
import type { Matcher } from './pattern-parts.ts';

/** What the statements of a policy look at to say whether they hold. */
export interface StatementQuestion {
  readonly principal: PrincipalArn;
  /** The role of a session (`arn:aws:iam::ACCOUNT:role/…`), whose policies are the session's; absent for others. */
  readonly role?: PrincipalArn | undefined;
  readonly accountId: string;
  /** The key's ARN, an alias's ARN, or `*` for operations on no resource. */
  readonly resource: string;
  /** What conditions and policy variables are about; nothing of it is computed unless a statement asks. */
  readonly context: ConditionValues;
}

/** Which statement of which document it is. */
export interface StatementReference {
  /** From 0, in the order of the document. */
  readonly index: number;
  readonly sid?: string;
  /** The file of an identity policy; absent for others. */
  readonly document?: string;
  /** Absent: of a key policy, or of an identity policy where there is a document. */
  readonly kind?: 'session policy' | 'trust policy';
}

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
  /** Does `matchesResource` say yes whatever it is asked? Nearly every statement of a key policy does. */
  readonly isOfEveryResource: boolean;
  /** What only the request tells: conditions, resources with policy variables, exceptions. Absent: nothing of that kind. */
  readonly holds?: ((question: StatementQuestion) => boolean) | undefined;
  /** The parts of `holds`: it holds where all of them do. */
  readonly tests: readonly StatementTest[];
  /** What it takes in memory at most; measured (`test/keys/compiled-policies.test.ts`). */
  readonly bytes: number;
  /** What it takes at most to find out whether it holds for a request (`work-budget.ts`). */
  readonly steps: number;
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
  readonly holds: (question: StatementQuestion) => boolean;
  /** What that takes at most. */
  readonly steps: number;
  /** Absent where the test can hold for values that nobody can list. */
  readonly requires?: RequiredTexts | undefined;
}

/** A test that holds only where the request has one of these texts as a value of the key; that may not be enough. */
export interface RequiredTexts {
  readonly key: ConditionKey;
  readonly form: TextForm;
  /** The texts, in that form. */
  readonly forms: ReadonlySet<string>;
  /** How long a text of the request may be to have one of them as its form. */
  readonly longest: number;
}
