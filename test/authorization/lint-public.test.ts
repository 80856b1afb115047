/** Of what the linter says that it lets everybody in, and of what it does not: what can never hold lets nobody in. */

import { describe, expect, test } from 'vitest';
import type { Finding } from '../../src/authorization/advice/linted-statement.ts';
import { conditionAt, lint, rootMayAll, warn, when } from './linting.ts';
import { alice, allow, bob, deny, keyArn, policy } from './policies.ts';

/** Each beside a statement that lets the root do everything, and so at Statement[1]. */
const statements: readonly (readonly [string, object, readonly Finding[]])[] = [
  [
    'access for everybody',
    allow('*', 'kms:Encrypt'),
    [warn('Statement[1].Principal', 'public: everybody who can connect is allowed')],
  ],
  [
    'access for everybody under a condition that everybody meets',
    when(allow('*', 'kms:Encrypt'), { StringEquals: { 'kms:CallerAccount': '000000000000' } }),
    [warn('Statement[1].Principal', 'public: everybody who can connect is allowed, because no condition says who')],
  ],
  [
    'access for everybody under a condition that leaves nobody out',
    when(allow('*', 'kms:Encrypt'), { StringLike: { 'drawbridge:UnixUser': ['app', '*'] } }),
    [warn('Statement[1].Principal', 'public: everybody who can connect is allowed, because no condition says who')],
  ],
  [
    'for everybody, but an action that does not exist',
    allow('*', 'kms:Encript'),
    [warn('Statement[1].Action', '"kms:Encript" is no action of AWS KMS and never matches')],
  ],
  [
    'for everybody, but a condition that no request meets',
    when(allow('*', 'kms:Encrypt'), { StringEquals: { 'aws:SourceVpc': 'vpc-1' } }),
    [
      warn(
        conditionAt('StringEquals', 'aws:SourceVpc'),
        'no request here has this key, so that the condition never holds, and neither does the statement',
      ),
    ],
  ],
];

describe('in a valid policy are found', () => {
  test.each(statements)('%s', (_name, statement, findings) => {
    expect(lint(policy(rootMayAll, statement))).toEqual(findings);
  });

  test('an Allow for everybody that is denied to everybody, which is not public', () => {
    expect(lint(policy(rootMayAll, allow('*', 'kms:Sign'), deny('*', 'kms:Sign')))).toEqual([
      warn('Statement[1]', 'it allows nothing: all of it is denied by other statements'),
    ]);
  });
});

/** As in the developer guide, "Default key policy", "Allows key administrators" and "Allows key users". */
const consoleAdministration = [
  'Create',
  'Describe',
  'Enable',
  'List',
  'Put',
  'Update',
  'Revoke',
  'Disable',
  'Get',
  'Delete',
]
  .map((start) => `kms:${start}*`)
  .concat(
    'kms:TagResource',
    'kms:UntagResource',
    'kms:ScheduleKeyDeletion',
    'kms:CancelKeyDeletion',
    'kms:RotateKeyOnDemand',
  );
const consoleUse = ['kms:Encrypt', 'kms:Decrypt', 'kms:ReEncrypt*', 'kms:GenerateDataKey*', 'kms:DescribeKey'];

test.each([
  [
    'access for everybody of another account, who do not call here, and through a service',
    policy(
      rootMayAll,
      when(allow('*', 'kms:Sign'), { StringEquals: { 'kms:CallerAccount': '111122223333' } }),
      when(allow('*', 'kms:Sign'), {
        StringEquals: { 'kms:ViaService': 'ebs.us-east-1.amazonaws.com', 'kms:CallerAccount': '000000000000' },
      }),
    ),
  ],
  [
    'the key policy that the console of AWS makes',
    policy(
      { Sid: 'Enable IAM User Permissions', ...rootMayAll },
      { Sid: 'Allow access for Key Administrators', ...allow(alice, consoleAdministration) },
      { Sid: 'Allow use of the key', ...allow(bob, consoleUse) },
      {
        Sid: 'Allow attachment of persistent resources',
        ...when(allow(bob, ['kms:CreateGrant', 'kms:ListGrants', 'kms:RevokeGrant']), {
          Bool: { 'kms:GrantIsForAWSResource': 'true' },
        }),
      },
    ),
  ],
])('nothing is found in %s', (_name, document) => {
  expect(lint(document, { keyArn })).toEqual([]);
});
