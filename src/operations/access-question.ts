/**
 * The question that the pipeline asks of authorization, drawn from one request.
 *
 * The question is its own context: nothing but references is taken when it is made, so that a decision without conditions
 * costs what its look-ups cost.
 */

import type { CompiledPolicy } from '../authorization/compiled-policy.ts';
import { type ConditionValues, noContext } from '../authorization/condition-keys.ts';
import type { AccessQuestion } from '../authorization/decision.ts';
import type { Caller } from '../identity/caller.ts';
import type { KeyDirectory } from '../keys/key-directory.ts';
import type { KmsKey } from '../keys/kms-key.ts';
import type { PrincipalArn } from '../kms/names.ts';
import type { AnyOperation, NeedOf } from './operation.ts';
import type { RequestOrigin } from './service.ts';

/** What all questions about one request share. */
export interface QuestionSource {
  readonly operation: AnyOperation;
  readonly request: Record<string, unknown>;
  readonly origin: RequestOrigin;
  readonly caller: Caller;
  readonly directory: KeyDirectory;
  readonly identityPolicies: readonly CompiledPolicy[];
}

/** A permission that an operation needs. */
export type Need = NeedOf<Record<string, unknown>>;

export class RequestQuestion implements AccessQuestion {
  readonly source: QuestionSource;
  readonly need: Need;
  readonly resource: string;
  /** The key that the resource is. */
  readonly key: KmsKey | undefined;
  readonly keyPolicy: CompiledPolicy | undefined;

  /** @param keyPolicy Instead of the key's own, for the question what would be. */
  constructor(
    source: QuestionSource,
    need: Need,
    resource: string,
    key: KmsKey | undefined,
    keyPolicy: CompiledPolicy | undefined = key?.policy,
  ) {
    this.source = source;
    this.need = need;
    this.resource = resource;
    this.key = key;
    this.keyPolicy = keyPolicy;
  }

  get principal(): PrincipalArn {
    return this.source.caller.arn;
  }

  get role(): PrincipalArn | undefined {
    return this.source.caller.role;
  }

  get accountId(): string {
    return this.source.caller.accountId;
  }

  get action(): string {
    return this.need.action;
  }

  get identityPolicies(): readonly CompiledPolicy[] {
    return this.source.identityPolicies;
  }

  get context(): ConditionValues {
    return noContext;
  }
}
