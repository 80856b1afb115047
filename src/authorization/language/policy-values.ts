/**
 * Values of a policy document as the types they must have, and refusals that say where they have not.
 */

import { KmsError } from '../../kms/errors.ts';
import type { Account } from '../../kms/names.ts';
import type { ConditionKey, ConditionVocabulary } from './condition-vocabulary.ts';
import type { JsonObject, JsonValue } from './policy-json.ts';

/** The version of the policy language; policy variables came with the second. */
export type PolicyVersion = '2008-10-17' | '2012-10-17';

/**
 * What a policy is to what it is about: the policy of a key, the permissions of a principal, what a session of a role has of the
 * role's permissions, or who may assume a role.
 */
export type PolicyKind = 'key policy' | 'identity policy' | 'session policy' | 'trust policy';

/** What the parts of a document are read with. */
export interface ParseContext {
  /** Key policies and trust policies name principals; identity policies are attached to them. */
  readonly kind: PolicyKind;
  readonly version: PolicyVersion;
  /** Whose principals there are. */
  readonly realm: Account;
  readonly vocabulary: ConditionVocabulary;
}

/** What the elements of one statement are read with. */
export interface StatementContext extends ParseContext {
  readonly effect: 'Allow' | 'Deny';
}

/** @param place Such as `Statement[0].Action`; statements are counted from 0. */
export function malformed(place: string, reason: string): KmsError {
  return new KmsError('MalformedPolicyDocumentException', `${place}: ${reason}.`);
}

/** A value in a refusal, short. */
export function quoted(value: string): string {
  return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}…` : value);
}

export function objectAt(place: string, value: JsonValue): JsonObject {
  if (value instanceof Map) return value;
  throw malformed(place, 'it must be an object');
}

export function stringAt(place: string, value: JsonValue): string {
  if (typeof value === 'string') return value;
  throw malformed(place, 'it must be a string');
}

/** A string or a list of at least one. */
export function stringsAt(place: string, value: JsonValue): readonly string[] {
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value)) throw malformed(place, 'it must be a string or a list of strings');
  if (value.length === 0) throw malformed(place, 'it must have at least one value');
  return value.map((item: JsonValue, index) => stringAt(`${place}[${index}]`, item));
}

/** Services whose keys are known here to the last one, so that another name is a typing error. */
const ownServices = /^(?:kms|drawbridge):/i;
/** A trust policy is about AssumeRole alone, whose keys are known too. */
const ownServicesOfTrust = /^(?:kms|drawbridge|sts):/i;

/**
 * @returns `undefined` for a key of another service, or a global one, that no request here has.
 * @throws KmsError for a name in our own name spaces that is no key: it would never match, and nobody would notice.
 */
export function resolveConditionKey(
  place: string,
  name: string,
  { vocabulary, kind }: ParseContext,
): ConditionKey | undefined {
  const key = vocabulary(name);
  const own = kind === 'trust policy' ? ownServicesOfTrust : ownServices;
  if (key === undefined && own.test(name)) throw malformed(place, `${quoted(name)} is not a condition key`);
  if (key === undefined && !/^[\w.-]+:./.test(name)) {
    throw malformed(place, `${quoted(name)} is not a condition key such as "kms:KeySpec" or "aws:PrincipalArn"`);
  }
  return key;
}
