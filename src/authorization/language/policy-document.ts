/**
 * From the text of a policy to the form that decides, or to a refusal that says where and why.
 *
 * Guarantees: what parses is applied in full; an unknown element, operator or condition key of our own is refused by
 * name, and nothing is read and ignored. Whatever the text, the outcome is a policy or a `KmsError`, after work in
 * proportion to its length.
 *
 * Source: IAM user guide, "Grammar of the IAM JSON policy language", "IAM and AWS STS quotas"; KMS developer guide, "Key
 * policies in AWS KMS".
 */

import { maxDocumentBytes } from '../../kms/budgets.ts';
import type { Account } from '../../kms/names.ts';
import { policyOf, type WeighedPolicy } from './compiled-policy.ts';
import type { ConditionKey, ConditionVocabulary } from './condition-vocabulary.ts';
import { type JsonObject, type JsonValue, parsePolicyJson } from './policy-json.ts';
import { compileStatement } from './policy-statement.ts';
import { malformed, objectAt, type ParseContext, type PolicyVersion, quoted, stringAt } from './policy-values.ts';

export type { CompiledPolicy } from './compiled-policy.ts';

/** AWS's quotas for a managed policy and, raised, for a trust policy; white space does not count. */
const maxIdentityPolicyCharacters = 6144;
const maxTrustPolicyCharacters = 8192;

/**
 * A key policy.
 * @param realm Whose account the key belongs to: principals of other accounts are valid text and match nobody.
 * @throws KmsError MalformedPolicyDocumentException.
 */
export function parsePolicyDocument(text: string, realm: Account, vocabulary: ConditionVocabulary): WeighedPolicy {
  // The length in characters first: it is known without a look at the text, and never more than the bytes.
  if (text.length > maxDocumentBytes || Buffer.byteLength(text) > maxDocumentBytes) {
    throw malformed('Policy', `it must not be larger than ${maxDocumentBytes} bytes`);
  }
  return compileDocument(objectAt('Policy', parsePolicyJson(text)), { kind: 'key policy', realm, vocabulary });
}

/**
 * An identity policy.
 * @param document The name under which decisions refer to it.
 * @throws KmsError MalformedPolicyDocumentException.
 */
export function compileIdentityPolicy(
  value: JsonValue,
  document: string,
  realm: Account,
  vocabulary: ConditionVocabulary,
): WeighedPolicy {
  assertNotLonger(value, maxIdentityPolicyCharacters);
  const policy = objectAt('Policy', value);
  const compiled = compileDocument(policy, { kind: 'identity policy', realm, vocabulary }, document);
  assertUniqueSids(compiled);
  return compiled;
}

/**
 * What a session of a role has of the role's permissions: an identity policy that comes with AssumeRole, which bounds its length.
 * @throws KmsError MalformedPolicyDocumentException.
 */
export function compileSessionPolicy(text: string, realm: Account, vocabulary: ConditionVocabulary): WeighedPolicy {
  const policy = objectAt('Policy', parsePolicyJson(text));
  const compiled = compileDocument(policy, { kind: 'session policy', realm, vocabulary });
  assertUniqueSids(compiled);
  return compiled;
}

/**
 * Who may assume a role.
 * @throws KmsError MalformedPolicyDocumentException.
 */
export function compileTrustPolicy(value: JsonValue, realm: Account, vocabulary: ConditionVocabulary): WeighedPolicy {
  assertNotLonger(value, maxTrustPolicyCharacters);
  const compiled = compileDocument(objectAt('Policy', value), { kind: 'trust policy', realm, vocabulary });
  assertUniqueSids(compiled);
  return compiled;
}

function assertNotLonger(value: JsonValue, maxCharacters: number): void {
  if (compactLength(value) <= maxCharacters) return;
  throw malformed('Policy', `it must not be larger than ${maxCharacters} characters without white space`);
}

function compileDocument(policy: JsonObject, context: Omit<ParseContext, 'version'>, document?: string): WeighedPolicy {
  assertKnownElements(policy);
  const version = versionOf(policy);
  const id = policy.get('Id');
  if (id !== undefined) stringAt('Id', id);
  const parseContext = { ...context, version, vocabulary: remembering(context.vocabulary) };
  const statements = statementsOf(policy).map((value, index) =>
    compileStatement(
      { value, index, place: `Statement[${index}]`, ...(document === undefined ? {} : { document }) },
      parseContext,
    ),
  );
  return policyOf(statements);
}

/** One object for each condition key of a document: statements that ask for the same one are then known by it. */
function remembering(vocabulary: ConditionVocabulary): ConditionVocabulary {
  const known = new Map<string, ConditionKey | undefined>();
  return (name) => {
    if (!known.has(name)) known.set(name, vocabulary(name));
    return known.get(name);
  };
}

function assertKnownElements(document: JsonObject): void {
  for (const name of document.keys()) {
    if (name !== 'Version' && name !== 'Id' && name !== 'Statement') {
      throw malformed('Policy', `${JSON.stringify(name)} is not an element of a policy`);
    }
  }
}

/** Without a version a document is in the language's first. */
function versionOf(document: JsonObject): PolicyVersion {
  const version = document.get('Version');
  if (version === undefined) return '2008-10-17';
  if (version === '2008-10-17' || version === '2012-10-17') return version;
  throw malformed('Version', 'it must be "2012-10-17" or "2008-10-17"');
}

/** One statement may stand without brackets. */
function statementsOf(document: JsonObject): readonly JsonValue[] {
  const value = document.get('Statement');
  if (value === undefined) throw malformed('Policy', 'the element Statement is missing');
  const statements = Array.isArray(value) ? value : [value];
  if (statements.length === 0) throw malformed('Statement', 'it must have at least one statement');
  return statements;
}

/** IAM's rule for its own policies; key policies may repeat a Sid. */
function assertUniqueSids({ statements }: WeighedPolicy): void {
  const seen = new Set<string>();
  for (const { reference } of statements) {
    const { sid, index } = reference;
    if (sid === undefined || sid === '') continue;
    if (seen.has(sid)) throw malformed(`Statement[${index}].Sid`, `${quoted(sid)} is there twice`);
    seen.add(sid);
  }
}

/** The length of a value as JSON without white space between its parts. */
function compactLength(value: JsonValue): number {
  if (value instanceof Map) {
    let length = 2 + Math.max(0, value.size - 1);
    for (const [name, member] of value) length += JSON.stringify(name).length + 1 + compactLength(member);
    return length;
  }
  if (!Array.isArray(value)) return JSON.stringify(value).length;
  return value.reduce(
    (length: number, item: JsonValue) => length + compactLength(item),
    2 + Math.max(0, value.length - 1),
  );
}
