/** Random policies and requests of the whole language, from alphabets so small that they often meet. */

import fc from 'fast-check';
import type { AccessQuestion } from '../../src/authorization/decision.ts';
import type { CompiledPolicy } from '../../src/authorization/language/compiled-policy.ts';
import type { ConditionKey, ConditionVocabulary } from '../../src/authorization/language/condition-vocabulary.ts';
import { compileIdentityPolicy, parsePolicyDocument } from '../../src/authorization/language/policy-document.ts';
import { parsePolicyJson } from '../../src/authorization/language/policy-json.ts';
import { unbounded } from '../../src/authorization/language/work-budget.ts';
import type { NaiveRequest } from './naive-evaluator.ts';
import { alice, bob, keyArn, otherKeyArn, principal, realm, root } from './policies.ts';

export interface RandomStatement {
  readonly Effect: 'Allow' | 'Deny';
  readonly [element: string]: unknown;
}

export interface RandomDocument {
  readonly Version: string;
  readonly Statement: readonly RandomStatement[];
}

export interface Case {
  readonly caller: (typeof callers)[number];
  readonly action: string;
  readonly resource: string;
  readonly context: Readonly<Record<string, readonly string[]>>;
  readonly keyPolicy: RandomDocument | undefined;
  readonly identityPolicies: readonly RandomDocument[];
}

const role = principal('arn:aws:iam::000000000000:role/ops/batch');
const session = principal('arn:aws:sts::000000000000:assumed-role/batch/eve');
const callers = [{ principal: alice }, { principal: bob }, { principal: root }, { principal: session, role }];

/** Keys of a request by their names in small letters, and whether they may have several values. */
const keys: Readonly<Record<string, { readonly multivalued: boolean; readonly values: readonly string[] }>> = {
  'aws:username': { multivalued: false, values: ['alice', '*', 'key', '1234'] },
  'aws:principaltype': { multivalued: false, values: ['User', 'USER', 'a:b'] },
  'kms:callerarn': { multivalued: false, values: [alice, bob, 'arn:aws:iam::111122223333:user/x:y', 'nothing'] },
  'kms:tags': { multivalued: true, values: ['red', 'green', 'Red', ''] },
  'kms:days': { multivalued: false, values: ['7', '30', '7.5', 'many'] },
  'aws:currenttime': { multivalued: false, values: ['2030-01-01T00:00:00Z', '2030-06-01T12:00:00Z', '1900000000'] },
  'kms:bypass': { multivalued: false, values: ['true', 'false', 'True'] },
  'aws:sourceip': { multivalued: false, values: ['10.1.2.3', '192.0.2.7', 'unix'] },
};

const vocabulary: ConditionVocabulary = (name) => {
  const key = keys[name.toLowerCase()];
  return key === undefined ? undefined : { name, type: 'String', isMultivalued: key.multivalued };
};

const oneOrMore = <T>(values: readonly T[]): fc.Arbitrary<T | T[]> =>
  fc.oneof(fc.constantFrom(...values), fc.array(fc.constantFrom(...values), { minLength: 1, maxLength: 3 }));

const dollar = (text: string): string => `$${text}`;
const variables = ['{aws:username}', "{aws:username, 'key'}", '{kms:days}', '{*}', '{?}', '{aws:missing}'].map(dollar);
const texts = [
  'alice',
  'ALICE',
  'a*e',
  '?????',
  '*',
  'User',
  'red',
  'Red',
  'r?d',
  'green',
  '',
  '7',
  'true',
  ...variables,
];
const arns = [
  alice,
  'arn:aws:iam::*:user/*',
  'arn:aws:iam::000000000000:user/unix/?????',
  'arn:*:iam::*:*:y',
  '*',
  `arn:aws:iam::000000000000:user/unix/${dollar('{aws:username}')}`,
];
const numbers = ['7', '7.5', '30', 8];
const dates = ['2030-01-01T00:00:00Z', '2030-03-01', '2031', 1_900_000_000];
const addresses = ['10.0.0.0/8', '10.1.2.3', '0.0.0.0/0', '192.0.2.0/29'];

const withIfExists = (names: readonly string[]): readonly string[] =>
  names.flatMap((name) => [name, `${name}IfExists`]);
const orders = ['Equals', 'NotEquals', 'LessThan', 'LessThanEquals', 'GreaterThan', 'GreaterThanEquals'];
const operators: readonly (readonly [names: readonly string[], values: readonly unknown[]])[] = [
  [
    withIfExists([
      'StringEquals',
      'StringNotEquals',
      'StringEqualsIgnoreCase',
      'StringNotEqualsIgnoreCase',
      'StringLike',
      'StringNotLike',
    ]),
    texts,
  ],
  [withIfExists(['ArnEquals', 'ArnLike', 'ArnNotEquals', 'ArnNotLike']), arns],
  [withIfExists(orders.map((order) => `Numeric${order}`)), numbers],
  [withIfExists(orders.map((order) => `Date${order}`)), dates],
  [withIfExists(['Bool']), ['true', 'false', true]],
  [withIfExists(['IpAddress', 'NotIpAddress']), addresses],
];

const keyNames = ['aws:username', 'AWS:UserName', 'aws:PrincipalType', 'kms:CallerArn', 'kms:Tags', 'kms:Days'].concat(
  'aws:CurrentTime',
  'kms:Bypass',
  'aws:SourceIp',
  'aws:missing',
  'other:thing',
);
const anyTest = fc.oneof(
  ...operators.map(([names, values]) =>
    fc.tuple(
      fc
        .tuple(fc.constantFrom('', '', 'ForAllValues:', 'ForAnyValue:'), fc.constantFrom(...names))
        .map(([set, name]) => set + name),
      fc.dictionary(fc.constantFrom(...keyNames), oneOrMore(values), { minKeys: 1, maxKeys: 2, noNullPrototype: true }),
    ),
  ),
  fc.tuple(
    fc.constant('Null'),
    fc.dictionary(fc.constantFrom(...keyNames), oneOrMore<unknown>(['true', 'false', true]), {
      minKeys: 1,
      maxKeys: 2,
      noNullPrototype: true,
    }),
  ),
);
const anyCondition = fc.array(anyTest, { maxLength: 2 }).map((tests) => Object.fromEntries(tests));

const resources = [
  '*',
  '*',
  keyArn,
  otherKeyArn,
  'arn:aws:kms:us-east-1:000000000000:key/*',
  'arn:aws:kms:*:*:key/1234*',
  'arn:aws:kms:*',
  'arn:aws:s3:::bucket',
  keyArn.replace('ab', '??'),
  `arn:aws:kms:us-east-1:000000000000:${dollar('{aws:username}')}/*`,
  `arn:aws:kms:*:*:key/${dollar("{kms:days, '1234'}")}*`,
];
const actions = ['kms:Encrypt', 'kms:Decrypt', 'kms:*', 'kms:*', 'kms:?ncrypt', 'KMS:de*', '*', 'kms:*crypt', 's3:*'];

const either = (name: string, values: readonly string[]): fc.Arbitrary<Record<string, unknown>> =>
  fc.oneof(
    { weight: 4, arbitrary: oneOrMore(values).map((value) => ({ [name]: value })) },
    { weight: 1, arbitrary: oneOrMore(values).map((value) => ({ [`Not${name}`]: value })) },
  );
const anyPrincipalName = oneOrMore<string>([alice, bob, root, realm.account, '*', role, session, '111122223333']);
const anyPrincipal = fc.oneof(
  { weight: 1, arbitrary: fc.constant<unknown>('*') },
  { weight: 4, arbitrary: anyPrincipalName.map((AWS): unknown => ({ AWS })) },
);
/** Denials are rarer, so that not everything is denied. */
const anyEffect = fc.constantFrom('Allow' as const, 'Allow' as const, 'Allow' as const, 'Deny' as const);
const anyConditionElement = fc.oneof(
  { weight: 2, arbitrary: fc.constant({}) },
  { weight: 3, arbitrary: anyCondition.map((Condition) => ({ Condition })) },
);
const anyIdentityStatement: fc.Arbitrary<RandomStatement> = fc
  .tuple(anyEffect, either('Action', actions), either('Resource', resources), anyConditionElement)
  .map(([Effect, ...elements]) => Object.assign({ Effect }, ...elements));

/** A statement of a key policy. */
export const anyStatement: fc.Arbitrary<RandomStatement> = fc
  .tuple(anyIdentityStatement, anyPrincipal, fc.boolean())
  .map(([statement, who, isException]) => ({
    ...statement,
    [isException && statement.Effect === 'Deny' ? 'NotPrincipal' : 'Principal']: who,
  }));

const documentFrom = (statement: fc.Arbitrary<RandomStatement>): fc.Arbitrary<RandomDocument> =>
  fc.record({
    Version: fc.constantFrom('2012-10-17', '2012-10-17', '2008-10-17'),
    Statement: fc.array(statement, { minLength: 1, maxLength: 4 }),
  });
export const anyKeyPolicy = documentFrom(anyStatement);

const anyContext = fc
  .tuple(
    ...Object.entries(keys).map(([name, { multivalued, values }]) =>
      fc
        .option(
          fc.array(fc.constantFrom(...values), { minLength: multivalued ? 0 : 1, maxLength: multivalued ? 3 : 1 }),
          {
            freq: 3,
          },
        )
        .map((drawn) => (drawn === null ? {} : { [name]: drawn })),
    ),
  )
  .map((parts) => Object.assign({}, ...parts) as Case['context']);

export const anyCase: fc.Arbitrary<Case> = fc
  .record({
    caller: fc.constantFrom(...callers),
    action: fc.constantFrom('kms:Encrypt', 'kms:Decrypt', 'kms:DescribeKey', 'kms:PutKeyPolicy'),
    resource: fc.constantFrom(keyArn, otherKeyArn),
    context: anyContext,
    keyPolicy: fc.option(anyKeyPolicy, { nil: undefined, freq: 6 }),
    identityPolicies: fc.array(documentFrom(anyIdentityStatement), { maxLength: 2 }),
  })
  // Nothing can be attached to the root.
  .map((item) => (item.caller.principal === root ? { ...item, identityPolicies: [] } : item));

export const documentOf = (document: RandomDocument): string => JSON.stringify(document);

export function naiveRequestOf({ caller, action, resource, context }: Case): NaiveRequest {
  return { ...caller, account: realm.account, action, resource, context };
}

export function questionOf(item: Case): AccessQuestion {
  const { caller, action, resource, context, keyPolicy, identityPolicies } = item;
  return {
    ...caller,
    accountId: realm.account,
    action,
    resource,
    keyPolicy: keyPolicy === undefined ? undefined : parsePolicyDocument(documentOf(keyPolicy), realm, vocabulary),
    identityPolicies: identityPolicies.map(compileIdentity),
    context: { ...unbounded, valuesOf: ({ name }: ConditionKey) => context[name.toLowerCase()] },
  };
}

function compileIdentity(document: RandomDocument): CompiledPolicy {
  return compileIdentityPolicy(parsePolicyJson(documentOf(document)), 'random.json', realm, vocabulary);
}
