/** The linter: one row for each thing that it finds, and documents in which it finds nothing. */

import { describe, expect, test } from 'vitest';
import { lintPolicy } from '../../src/authorization/advice/lint.ts';
import type { Finding } from '../../src/authorization/advice/linted-statement.ts';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import { parsePolicyJson } from '../../src/authorization/language/policy-json.ts';
import { operationNames } from '../../src/kms/operation-names.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { actions, conditionAt, fail, lint, rootMayAll, warn, when } from './linting.ts';
import { alice, allow, bob, deny, keyArn, otherKeyArn, policy, realm, root } from './policies.ts';

/** Each beside a statement that lets the root do everything, and so at Statement[1]. */
const statements: readonly (readonly [string, object, readonly Finding[]])[] = [
  [
    'an action that does not exist',
    allow(alice, ['kms:Encript', 'kms:Encrypt']),
    [warn('Statement[1].Action', '"kms:Encript" is no action of AWS KMS and never matches')],
  ],
  [
    'an action that no key policy is asked about',
    allow(alice, 'kms:ListKeys'),
    [
      warn(
        'Statement[1].Action',
        '"kms:ListKeys" is on no key: a key policy is never asked about it, an identity policy is',
      ),
    ],
  ],
  [
    'a Deny without Resource',
    { Effect: 'Deny', Principal: '*', Action: 'kms:Decrypt' },
    [warn('Statement[1]', 'without Resource the statement never matches: it denies nothing')],
  ],
  [
    'an Allow without Action and Resource',
    { Effect: 'Allow', Principal: { AWS: alice } },
    [warn('Statement[1]', 'without Action and Resource the statement never matches: it allows nothing')],
  ],
  [
    'a key of another Region',
    allow(alice, 'kms:Encrypt', 'arn:aws:kms:eu-west-1:000000000000:key/*'),
    [
      warn(
        'Statement[1].Resource',
        '"arn:aws:kms:eu-west-1:000000000000:key/*" is no key of account 000000000000 in us-east-1 and never matches',
      ),
    ],
  ],
  [
    'an alias, which a key policy does not govern',
    allow(alice, 'kms:Encrypt', 'arn:aws:kms:us-east-1:000000000000:alias/a'),
    [
      warn(
        'Statement[1].Resource',
        '"arn:aws:kms:us-east-1:000000000000:alias/a" is no key of account 000000000000 in us-east-1 and never matches',
      ),
    ],
  ],
  [
    'principals that cannot call',
    { ...allow(alice, 'kms:Encrypt'), Principal: { AWS: '111122223333', Service: 'ec2.amazonaws.com' } },
    [
      warn('Statement[1].Principal', '"ec2.amazonaws.com" never matches: no AWS service calls this daemon'),
      warn('Statement[1].Principal', '"111122223333" never matches: nobody of another account calls here'),
    ],
  ],
  [
    'a condition key that no request has',
    when(allow(alice, 'kms:Encrypt'), { StringEquals: { 'aws:Foo': 'x' } }),
    [
      warn(
        conditionAt('StringEquals', 'aws:Foo'),
        'no request here has this key, so that the condition never holds, and neither does the statement',
      ),
    ],
  ],
  [
    'a condition key of private clouds, which do not exist here, in a negation',
    when(deny('*', 'kms:Encrypt'), { StringNotEquals: { 'aws:SourceVpc': 'vpc-1' } }),
    [
      warn(
        conditionAt('StringNotEquals', 'aws:SourceVpc'),
        'no request here has this key, so that the condition always holds',
      ),
    ],
  ],
  [
    'a condition key that none of the actions has',
    when(allow(alice, ['kms:Sign', 'kms:Verify']), { StringEquals: { 'kms:EncryptionContext:app': 'x' } }),
    [
      warn(
        conditionAt('StringEquals', 'kms:EncryptionContext:app'),
        'no request for kms:Sign, kms:Verify has this key, so that the condition never holds, and neither does the statement',
      ),
    ],
  ],
  [
    'a negation that holds for the actions without the key',
    when(deny('*', ['kms:Encrypt', 'kms:DescribeKey']), { StringNotEquals: { 'kms:EncryptionContext:app': 'x' } }),
    [
      warn(
        conditionAt('StringNotEquals', 'kms:EncryptionContext:app'),
        'requests for kms:DescribeKey do not have this key, so that the condition holds for them',
      ),
    ],
  ],
  [
    'an operator that cannot compare the values',
    when(allow(alice, 'kms:Encrypt'), { NumericEquals: { 'kms:KeySpec': '1' } }),
    [
      warn(
        conditionAt('NumericEquals', 'kms:KeySpec'),
        'the values of this key are of type String, which NumericEquals cannot compare',
      ),
    ],
  ],
  [
    'a wildcard where there are none',
    when(allow(alice, 'kms:Encrypt'), { StringEquals: { 'kms:RequestAlias': 'alias/app-*' } }),
    [
      warn(
        conditionAt('StringEquals', 'kms:RequestAlias'),
        '"alias/app-*" is compared as it is: for wildcards write StringLike',
      ),
    ],
  ],
  [
    'a set compared as if it were one value',
    when(allow(alice, 'kms:Encrypt'), { StringEquals: { 'kms:ResourceAliases': 'alias/a' } }),
    [
      fail(
        conditionAt('StringEquals', 'kms:ResourceAliases'),
        'dangerous: the key can have several values, and AWS does not say which of them have to match (here all of them have to): write ForAllValues:StringEquals or ForAnyValue:StringEquals',
      ),
    ],
  ],
  [
    'a set compared as if it were one value, in a Deny',
    when(deny(alice, 'kms:CreateGrant'), { StringNotEquals: { 'kms:GrantOperations': 'Encrypt' } }),
    [
      fail(
        conditionAt('StringNotEquals', 'kms:GrantOperations'),
        'dangerous: the key can have several values, and AWS does not say which of them have to match (here one of them has to): write ForAllValues:StringNotEquals or ForAnyValue:StringNotEquals',
      ),
    ],
  ],
  [
    'ForAllValues in an Allow, without the demand that there are values',
    when(allow(alice, 'kms:Encrypt'), { 'ForAllValues:StringEquals': { 'kms:EncryptionContextKeys': 'app' } }),
    [
      warn(
        conditionAt('ForAllValues:StringEquals', 'kms:EncryptionContextKeys'),
        'it holds where the request has no value at all: add "Null": {"kms:EncryptionContextKeys": "false"}',
      ),
    ],
  ],
  [
    'an address, which the caller chooses',
    when(allow(alice, 'kms:Encrypt'), { IpAddress: { 'aws:SourceIp': '127.0.0.2/32' } }),
    [
      warn(
        conditionAt('IpAddress', 'aws:SourceIp'),
        'a hint and no proof: on the loopback listener the caller chooses his address, and on a Unix socket he has none',
      ),
    ],
  ],
  [
    'a time that is over',
    when(allow(alice, 'kms:Encrypt'), { DateLessThan: { 'aws:CurrentTime': '2029-12-31T00:00:00Z' } }),
    [warn(conditionAt('DateLessThan', 'aws:CurrentTime'), 'its time is over: it allows nothing any more')],
  ],
];

describe('in a valid policy are found', () => {
  test.each(statements)('%s', (_name, statement, findings) => {
    expect(lint(policy(rootMayAll, statement))).toEqual(findings);
  });

  test('an Allow of which a Deny leaves nothing, and no other', () => {
    const document = policy(
      rootMayAll,
      allow([alice, bob], 'kms:Sign'),
      allow(alice, 'kms:Sign'),
      deny(alice, 'kms:Si*'),
    );
    expect(lint(document)).toEqual([
      warn('Statement[2]', 'it allows nothing: all of it is denied by other statements'),
    ]);
  });

  test('two statements with one name', () => {
    expect(lint(policy({ Sid: 'a', ...rootMayAll }, { Sid: 'a', ...allow(alice, 'kms:Sign') }))).toEqual([
      warn('Statement[1].Sid', '"a" is there twice: decisions that name it are ambiguous'),
    ]);
  });

  test('policy variables in a document of the first version of the language', () => {
    const resource = ['arn:aws:kms:*:*:key/$', '{aws:username}'].join('');
    const document = JSON.stringify({ Statement: [rootMayAll, allow(alice, 'kms:Sign', resource)] });
    expect(lint(document)).toEqual([
      warn('Statement[1]', 'policy variables are text here, because the document lacks `"Version": "2012-10-17"`'),
    ]);
  });

  test('a key that is not the one that the policy is for', () => {
    const document = policy(rootMayAll, allow(alice, 'kms:Sign', otherKeyArn), allow(alice, 'kms:Sign', keyArn));
    expect(lint(document)).toEqual([]);
    expect(lint(document, { keyArn })).toEqual([
      warn('Statement[1].Resource', `"${otherKeyArn}" is not this key, and the policy is about no other`),
    ]);
  });
});

describe('lockouts are found', () => {
  const cases: readonly (readonly [string, string, readonly Finding[]])[] = [
    [
      'where nobody may put another policy',
      policy(allow(root, 'kms:Encrypt')),
      [fail('Policy', 'lockout: no statement allows anybody kms:PutKeyPolicy')],
    ],
    [
      'where only another account may',
      policy(allow('arn:aws:iam::111122223333:root', 'kms:*')),
      [
        warn(
          'Statement[0].Principal',
          '"arn:aws:iam::111122223333:root" never matches: nobody of another account calls here',
        ),
        fail('Policy', 'lockout: no statement allows anybody kms:PutKeyPolicy'),
      ],
    ],
    [
      'where it is denied to everybody',
      policy(rootMayAll, deny('*', 'kms:Put*')),
      [fail('Statement[1]', 'lockout: nobody may put another policy on the key')],
    ],
    [
      'where it hangs on one user',
      policy(allow(alice, 'kms:*')),
      [
        warn(
          'Policy',
          `the account's root may not change the policy: without ${alice} the key cannot be managed any more`,
        ),
      ],
    ],
  ];
  test.each(cases)('%s', (_name, document, findings) => {
    expect(lint(document)).toEqual(findings);
  });
});

test('a document that is refused has one finding: the refusal', () => {
  expect(lint('{"Statement": []}')).toEqual([
    fail('Policy', 'it is refused: Statement: it must have at least one statement.'),
  ]);
  expect(lint('{')).toEqual([
    fail(
      'Policy',
      'it is refused: This policy contains invalid Json: line 1, column 2: expected the name of a member.',
    ),
  ]);
});

test('a document that costs too much to be put is refused', () => {
  const like = Array.from({ length: 500 }, (_, index) => `*${index}*`);
  const costly = when(allow(alice, 'kms:Decrypt'), { StringLike: { 'kms:EncryptionContext:app': like } });
  expect(lint(policy(rootMayAll, costly))).toEqual([
    fail('Policy', expect.stringContaining('it is refused: Statement[1]: comparing it with the longest values')),
  ]);
});

test.each([
  ['the default key policy', defaultKeyPolicy(realm)],
  [
    'conditions that say who',
    policy(rootMayAll, when(allow('*', 'kms:Sign'), { StringEquals: { 'drawbridge:UnixUser': 'app' } })),
  ],
  [
    'NotPrincipal in a Deny',
    policy(rootMayAll, { Effect: 'Deny', NotPrincipal: { AWS: root }, Action: 'kms:*', Resource: '*' }),
  ],
  [
    'an encryption context',
    policy(rootMayAll, when(allow(alice, 'kms:Decrypt'), { StringEquals: { 'kms:EncryptionContext:app': 'x' } })),
  ],
  [
    'operations that this version does not have yet',
    policy(
      rootMayAll,
      when(allow(alice, 'kms:Schedule*'), { NumericEquals: { 'kms:ScheduleKeyDeletionPendingWindowInDays': 7 } }),
    ),
  ],
])('nothing is found in %s', (_name, document) => {
  expect(lint(document, { keyArn })).toEqual([]);
});

test('an identity policy may allow what no key policy governs, and names keys and aliases', () => {
  const document = {
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Action: ['kms:CreateKey', 'kms:ListKeys', 's3:GetObject'], Resource: '*' },
      { Effect: 'Allow', Action: 'kms:CreateAlias', Resource: 'arn:aws:kms:us-east-1:000000000000:alias/app-*' },
      { Effect: 'Allow', Action: 'kms:CreateAlias', Resource: 'arn:aws:kms:us-east-1:000000000001:alias/app' },
      { Effect: 'Deny', Action: ['s3:GetObject', 'kmd:Encrypt'], Resource: '*' },
      { Effect: 'Allow', Action: ['kms:TagResource', 'kms:Encript'], Resource: '*' },
    ],
  };
  const value = parsePolicyJson(JSON.stringify(document));
  const options = { realm, vocabulary: conditionVocabulary, actions, nowMs: 0 };
  expect(lintPolicy(value, { ...options, kind: 'identity policy' })).toEqual([
    warn(
      'Statement[2].Resource',
      '"arn:aws:kms:us-east-1:000000000001:alias/app" is no key and no alias of account 000000000000 in us-east-1 and never matches',
    ),
    warn('Statement[3].Action', '"s3:GetObject" is no action of AWS KMS and never matches'),
    warn('Statement[3].Action', '"kmd:Encrypt" is no action of AWS KMS and never matches'),
    warn('Statement[4].Action', '"kms:Encript" is no action of AWS KMS and never matches'),
  ]);
});

test('every operation, built or not, has an action that the linter knows', () => {
  const known = new Set(actions.map(({ action }) => action));
  const names = operationNames.filter((name) => name !== 'ReEncrypt');
  expect(names.filter((name) => !known.has(`kms:${name}`))).toEqual([]);
  expect(known).toContain('kms:ReEncryptFrom');
  expect(known).toContain('kms:ReEncryptTo');
});
