/**
 * One statement of a key policy: which elements it may have, what their values must look like, and its compiled form.
 *
 * AWS checks when a policy is put that its principals exist. Here any ARN that could name an IAM principal is taken: users
 * of this account are the operating system's, who come and go without the daemon.
 *
 * Source: IAM user guide, "IAM JSON policy element reference"; KMS developer guide, "Key policies in AWS KMS",
 * "Elements in a key policy".
 */

import type { Realm } from '../kms/names.ts';
import type { CompiledStatement } from './compiled-policy.ts';
import type { JsonObject, JsonValue } from './policy-json.ts';
import { parsePrincipalElement } from './policy-principal.ts';
import { malformed, objectAt, stringAt, stringsAt } from './policy-values.ts';
import { compileWildcards, type Matcher } from './wildcard.ts';

/** The version of the policy language; policy variables came with the second. */
export type PolicyVersion = '2008-10-17' | '2012-10-17';

/**
 * Every element that a statement can have, and what follows when it is not there. `later` ones would change the meaning of
 * the others, so they are refused. A statement without one of the `ineffective` ones is taken and has no effect, as the
 * CreateKey and PutKeyPolicy pages of the AWS KMS API reference have it.
 */
const statementElements = {
  Sid: 'optional',
  Effect: 'required',
  Principal: 'required',
  NotPrincipal: 'later',
  Action: 'ineffective',
  NotAction: 'later',
  Resource: 'ineffective',
  NotResource: 'later',
  Condition: 'later',
} as const;

export interface StatementSource {
  readonly value: JsonValue;
  /** Its position in the document, from 0. */
  readonly index: number;
  /** For refusals: `Statement[0]`. */
  readonly place: string;
  readonly version: PolicyVersion;
  readonly realm: Realm;
}

/** @throws KmsError MalformedPolicyDocumentException. */
export function compileStatement({ value, index, place, version, realm }: StatementSource): CompiledStatement {
  const statement = objectAt(place, value);
  assertElements(statement, place);
  const element = (name: keyof typeof statementElements): JsonValue => statement.get(name) ?? null;
  const sid = statement.has('Sid') ? stringAt(`${place}.Sid`, element('Sid')) : undefined;
  return {
    reference: sid === undefined ? { index } : { index, sid },
    effect: parseEffect(`${place}.Effect`, element('Effect')),
    principals: parsePrincipalElement(`${place}.Principal`, element('Principal'), realm),
    matchesAction: statement.has('Action') ? parseAction(`${place}.Action`, element('Action')) : matchesNothing,
    matchesResource: statement.has('Resource')
      ? parseResource(`${place}.Resource`, element('Resource'), version)
      : matchesNothing,
  };
}

const matchesNothing: Matcher = compileWildcards([]);

function assertElements(statement: JsonObject, place: string): void {
  for (const name of statement.keys()) {
    if (!isElement(name)) throw malformed(place, `${JSON.stringify(name)} is not an element of a statement`);
    if (statementElements[name] === 'later') {
      throw malformed(place, `the element ${name} is not supported by this version of Drawbridge`);
    }
  }
  for (const [name, presence] of Object.entries(statementElements)) {
    if (presence === 'required' && !statement.has(name)) throw malformed(place, `the element ${name} is missing`);
  }
}

function isElement(name: string): name is keyof typeof statementElements {
  return Object.hasOwn(statementElements, name);
}

function parseEffect(place: string, value: JsonValue): 'Allow' | 'Deny' {
  if (value === 'Allow' || value === 'Deny') return value;
  throw malformed(place, 'it must be "Allow" or "Deny"');
}

/** `*`, or a service's prefix and a name, in both of which wildcards may stand. */
const actionPattern = /^(?:\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+)$/;

function parseAction(place: string, value: JsonValue): Matcher {
  const patterns = stringsAt(place, value);
  for (const pattern of patterns) {
    if (!actionPattern.test(pattern)) {
      throw malformed(place, `${quoted(pattern)} is not an action such as "kms:Encrypt", "kms:*" or "*"`);
    }
  }
  return compileWildcards(patterns.map((pattern) => pattern.toLowerCase()));
}

function parseResource(place: string, value: JsonValue, version: PolicyVersion): Matcher {
  const patterns = stringsAt(place, value);
  for (const pattern of patterns) {
    // A Deny whose resource is no ARN would be a silent no-op.
    if (pattern !== '*' && !pattern.startsWith('arn:')) {
      throw malformed(place, `Resource ${quoted(pattern)} must be in ARN format or "*"`);
    }
    if (version === '2012-10-17' && pattern.includes('${')) {
      throw malformed(place, 'policy variables are not supported by this version of Drawbridge');
    }
  }
  return compileWildcards(patterns, 'arn');
}

/** A value in a refusal, short. */
function quoted(value: string): string {
  return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}…` : value);
}
