/** Key policies as tables read them, and the principals that ask. */

import { decide } from '../../src/authorization/decide.ts';
import type { Decision } from '../../src/authorization/decision.ts';
import type { WeighedPolicy } from '../../src/authorization/language/compiled-policy.ts';
import { noContext } from '../../src/authorization/language/condition-vocabulary.ts';
import { parsePolicyDocument } from '../../src/authorization/language/policy-document.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { type PrincipalArn, parsePrincipalArn, type Realm } from '../../src/kms/names.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';

export const realm: Realm = { region: 'us-east-1', account: '000000000000' };
export const keyArn = 'arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab';
export const otherKeyArn = 'arn:aws:kms:us-east-1:000000000000:key/9999abcd-12ab-34cd-56ef-1234567890ab';

export const root = principal('arn:aws:iam::000000000000:root');
export const alice = principal('arn:aws:iam::000000000000:user/unix/alice');
export const bob = principal('arn:aws:iam::000000000000:user/unix/bob');

export function principal(text: string): PrincipalArn {
  const arn = parsePrincipalArn(text);
  if (arn === undefined) throw new Error(`${text} is not the ARN of a principal`);
  return arn;
}

export interface Statement {
  readonly Sid?: string;
  readonly Effect: 'Allow' | 'Deny';
  readonly Principal:
    | '*'
    | { readonly AWS?: string | readonly string[]; readonly Service?: string | readonly string[] };
  readonly Action: string | readonly string[];
  readonly Resource: string | readonly string[];
}

type Builder = (
  principals: string | readonly string[],
  actions: string | readonly string[],
  resources?: string | readonly string[],
) => Statement;

const build =
  (Effect: Statement['Effect']): Builder =>
  (principals, Action, Resource = '*') => ({
    Effect,
    Principal: principals === '*' ? '*' : { AWS: principals },
    Action,
    Resource,
  });

export const allow = build('Allow');
export const deny = build('Deny');

export function policy(...statements: readonly object[]): string {
  return JSON.stringify({ Version: '2012-10-17', Statement: statements });
}

/** A key policy in this realm, with the condition keys of this daemon. */
export function compile(document: string): WeighedPolicy {
  return parsePolicyDocument(document, realm, conditionVocabulary);
}

export function ask(document: string, who: PrincipalArn, action: string, resource: string = keyArn): Decision {
  return decide({
    principal: who,
    accountId: realm.account,
    action,
    resource,
    keyPolicy: compile(document),
    identityPolicies: [],
    context: noContext,
  });
}

/** How a document is refused; fails when it is taken, or refused in any other way than as a caller's mistake. */
export function refusalOf(text: string): string {
  try {
    compile(text);
  } catch (error) {
    if (error instanceof KmsError && error.name === 'MalformedPolicyDocumentException') return error.message;
    throw error;
  }
  throw new Error('the document was taken');
}
