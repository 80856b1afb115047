/**
 * The question that the pipeline asks of authorization, drawn from one request.
 *
 * The question is its own context: nothing but references is taken when it is made, so that a decision without conditions
 * costs what its look-ups cost.
 */

import type { AccessQuestion, GrantReference } from '../authorization/decision.ts';
import { findAllowingGrant, findRetirement } from '../authorization/grant-decision.ts';
import type { CompiledPolicy } from '../authorization/language/compiled-policy.ts';
import type { ConditionKey, ConditionValues } from '../authorization/language/condition-vocabulary.ts';
import { tooMuchWork } from '../authorization/language/work-budget.ts';
import { maxDecisionSteps } from '../kms/budgets.ts';
import type { EncryptionContextPairs } from '../kms/grant-terms.ts';
import type { PrincipalArn } from '../kms/names.ts';
import { conditionValues } from './condition-key-table.ts';
import { encryptionContextMember } from './condition-values.ts';
import type { ConditionSource, Need, QuestionKey, QuestionSource } from './question-source.ts';

/** What a condition key has in this request. */
interface Drawn {
  readonly key: ConditionKey;
  readonly values: readonly string[] | undefined;
}

export class RequestQuestion implements AccessQuestion, ConditionSource, ConditionValues {
  readonly source: QuestionSource;
  readonly need: Need;
  readonly resource: string;
  /** The key that the resource is. */
  readonly key: QuestionKey | undefined;
  readonly keyPolicy: CompiledPolicy | undefined;
  #last: Drawn | undefined;
  /** What was drawn, by name and parameter, once there is more than one. */
  #drawn: Map<string, readonly string[] | undefined> | undefined;
  #stepsLeft = maxDecisionSteps;

  /**
   * @param key Without it no grant is looked for.
   * @param keyPolicy Instead of the key's own, for the question what would be. Retiring is not a key policy's to give.
   */
  constructor(
    source: QuestionSource,
    need: Need,
    resource: string,
    key: QuestionKey | undefined,
    keyPolicy: CompiledPolicy | undefined = need.retires === undefined ? key?.policy : undefined,
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

  get isFoundByCiphertext(): boolean {
    const { orByCiphertext } = this.need;
    return orByCiphertext !== undefined && this.source.request[orByCiphertext] === undefined;
  }

  get identityPolicies(): readonly CompiledPolicy[] {
    return this.source.identityPolicies;
  }

  get sessionPolicy(): CompiledPolicy | undefined {
    return this.source.sessionPolicy;
  }

  get isAboutRole(): boolean {
    return this.need.action.startsWith('sts:');
  }

  get context(): ConditionValues {
    return this;
  }

  /** A long policy asks for the same keys again and again, so answers are kept, and the last one nearest. */
  valuesOf(key: ConditionKey): readonly string[] | undefined {
    const last = this.#last;
    if (last !== undefined && isSame(last.key, key)) return last.values;
    const values = last === undefined ? conditionValues(this, key) : this.#draw(last, key);
    this.#last = { key, values };
    return values;
  }

  #draw(last: Drawn, key: ConditionKey): readonly string[] | undefined {
    this.#drawn ??= new Map([[nameOf(last.key), last.values]]);
    const name = nameOf(key);
    const known = this.#drawn.get(name);
    if (known !== undefined || this.#drawn.has(name)) return known;
    const values = conditionValues(this, key);
    this.#drawn.set(name, values);
    return values;
  }

  /** @throws KmsError `LimitExceededException` */
  spend(steps: number): void {
    this.#stepsLeft -= steps;
    if (this.#stepsLeft < 0) throw tooMuchWork();
  }

  findGrant(): GrantReference | undefined {
    const { need, key, source } = this;
    const { request, directory } = source;
    if (need.grant === undefined || key === undefined) return undefined;
    if (need.retires !== undefined) return findRetirement(need.retires(request, directory), this);
    const use = {
      operation: need.grant,
      // Safe: every operation that has such a member declares it with the schema `encryptionContext`.
      encryptionContext: request[encryptionContextMember(need.action)] as EncryptionContextPairs | undefined,
      newGrant: need.newGrant?.(request),
    };
    return findAllowingGrant(directory.grants.ofKey(key.record.keyId), this, use, this);
  }
}

/** Keys of one document are the same object. */
function isSame(one: ConditionKey, other: ConditionKey): boolean {
  return one === other || (one.name === other.name && one.parameter === other.parameter);
}

function nameOf({ name, parameter }: ConditionKey): string {
  return parameter === undefined ? name : `${name} ${parameter}`;
}
