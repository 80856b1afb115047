/**
 * What the linter is told and what it says: each of its parts makes `Finding`s of a `LintedStatement` and the `LintOptions`.
 */

import type { Realm } from '../../kms/names.ts';
import type { CompiledStatement } from '../language/compiled-statement.ts';
import type { ConditionKey, ConditionVocabulary } from '../language/condition-vocabulary.ts';
import type { JsonObject } from '../language/policy-json.ts';

export interface Finding {
  /** `error`: the document is refused, locks everybody out, or does not say what it lets through. */
  readonly severity: 'error' | 'warning';
  /** `Statement[0].Action`, or `Policy`. */
  readonly place: string;
  readonly problem: string;
}

/** What there is to be allowed. */
export interface KnownAction {
  /** `kms:Encrypt` */
  readonly action: string;
  /** Is a key policy asked about it? */
  readonly isOnKey: boolean;
  /** Does a request for it have this condition key, or may it? */
  readonly hasKey: (key: ConditionKey) => boolean;
}

export interface LintOptions {
  readonly kind: 'key policy' | 'identity policy' | 'trust policy';
  readonly realm: Realm;
  readonly vocabulary: ConditionVocabulary;
  readonly actions: readonly KnownAction[];
  /** The key that the policy is for, where that is known. */
  readonly keyArn?: string | undefined;
  readonly nowMs: number;
}

/** A statement as it was written and as it is understood. */
export interface LintedStatement {
  readonly place: string;
  readonly written: JsonObject;
  readonly compiled: CompiledStatement;
  /** What it is about, of what there is. */
  readonly actions: readonly KnownAction[];
}
