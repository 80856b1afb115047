/**
 * From the text of a key policy to the form that decides, or to a refusal that says where and why.
 *
 * Guarantees: what parses is applied in full. An element of the policy language that is not evaluated yet (`Condition`,
 * `NotPrincipal`, `NotAction`, `NotResource`, policy variables) is refused by name, an unknown one too; nothing is read
 * and ignored. Whatever the text, the outcome is a policy or a `KmsError`, after work
 * in proportion to at most 32 KB.
 *
 * Source: IAM user guide, "Grammar of the IAM JSON policy language"; KMS developer guide, "Key policies in AWS KMS".
 */

import type { Realm } from '../kms/names.ts';
import { rememberApplicable } from './applicable-statements.ts';
import type { CompiledPolicy } from './compiled-policy.ts';
import { type JsonObject, type JsonValue, parsePolicyJson } from './policy-json.ts';
import { compileStatement, type PolicyVersion } from './policy-statement.ts';
import { malformed, objectAt, stringAt } from './policy-values.ts';

export type { CompiledPolicy } from './compiled-policy.ts';

/** AWS's quota for a key policy document. */
const maxPolicyBytes = 32_768;

/**
 * @param realm Whose account the key belongs to: principals of other accounts are valid text and match nobody.
 * @throws KmsError MalformedPolicyDocumentException.
 */
export function parsePolicyDocument(text: string, realm: Realm): CompiledPolicy {
  // The length in characters first: it is known without a look at the text, and never more than the bytes.
  if (text.length > maxPolicyBytes || Buffer.byteLength(text) > maxPolicyBytes) {
    throw malformed('Policy', `it must not be larger than ${maxPolicyBytes} bytes`);
  }
  const document = objectAt('Policy', parsePolicyJson(text));
  assertKnownElements(document);
  const version = versionOf(document);
  const id = document.get('Id');
  if (id !== undefined) stringAt('Id', id);
  const statements = statementsOf(document).map((value, index) =>
    compileStatement({ value, index, place: `Statement[${index}]`, version, realm }),
  );
  return { statements, applicableTo: rememberApplicable(statements) };
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
