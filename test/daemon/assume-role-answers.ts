/** The roles of `roles.test.ts`, and what AssumeRole answers to whom. */

import type { AssumeRoleCommandInput } from '@aws-sdk/nested-clients/sts';
import { expect } from 'vitest';

export const iam = 'arn:aws:iam::000000000000';
export const roleArn = (name: string): string => `${iam}:role/${name}`;
export const sessionArn = (role: string, name: string): string =>
  `arn:aws:sts::000000000000:assumed-role/${role}/${name}`;
export const user = (name: string): string => `${iam}:user/${name}`;

export const trust = (
  AWS: string | readonly string[],
  Condition?: object,
  Action: string | readonly string[] = 'sts:AssumeRole',
) => ({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { AWS }, Action, ...(Condition === undefined ? {} : { Condition }) }],
});
export const document = (...Statement: readonly object[]): string =>
  JSON.stringify({ Version: '2012-10-17', Statement });
export const allow = (AWS: string, Action: string | readonly string[] = 'kms:*') => {
  return { Effect: 'Allow', Principal: { AWS }, Action, Resource: '*' };
};

export const usual = {
  deploy: { trustPolicy: trust(user('alice')), maxSessionSeconds: 7200 },
  delegated: { trustPolicy: trust(`${iam}:root`), path: '/ci/' },
  external: { trustPolicy: trust([user('alice'), user('bob')], { StringEquals: { 'sts:ExternalId': 'x-1' } }) },
  // biome-ignore lint/suspicious/noTemplateCurlyInString: a policy variable.
  named: { trustPolicy: trust(user('alice'), { StringLike: { 'sts:RoleSessionName': '${aws:username}-*' } }) },
  unix: { trustPolicy: trust(user('unix/daemon'), { StringEquals: { 'drawbridge:UnixUser': 'daemon' } }) },
  second: { trustPolicy: trust(roleArn('deploy')), maxSessionSeconds: 43_200 },
  tracked: {
    trustPolicy: trust([user('alice'), roleArn('tracked')], undefined, ['sts:AssumeRole', 'sts:SetSourceIdentity']),
  },
} as const;

/** Of somebody who may not. */
export const denied = (name: string, action: string, role: string): string =>
  `AccessDenied: User: ${user(name)} is not authorized to perform: ${action} on resource: ${roleArn(role)}`;

/** What is special, who asks, for which role, with what else, and the answer. */
export const answers: readonly (readonly [string, string, string, Partial<AssumeRoleCommandInput>, string])[] = [
  ['somebody whom no statement names', 'bob', 'deploy', {}, denied('bob', 'sts:AssumeRole', 'deploy')],
  ['a role that does not exist', 'alice', 'nothing', {}, denied('alice', 'sts:AssumeRole', 'nothing')],
  [
    'the account, without an identity policy',
    'bob',
    'ci/delegated',
    {},
    denied('bob', 'sts:AssumeRole', 'ci/delegated'),
  ],
  ['the account, with one', 'alice', 'ci/delegated', {}, 'ok'],
  ['no external id', 'alice', 'external', {}, denied('alice', 'sts:AssumeRole', 'external')],
  ['another external id', 'alice', 'external', { ExternalId: 'x-2' }, denied('alice', 'sts:AssumeRole', 'external')],
  ['the external id', 'bob', 'external', { ExternalId: 'x-1' }, 'ok'],
  [
    'a session name that is another’s',
    'alice',
    'named',
    { RoleSessionName: 'bob-1' },
    denied('alice', 'sts:AssumeRole', 'named'),
  ],
  ['a session name of one’s own', 'alice', 'named', { RoleSessionName: 'alice-1' }, 'ok'],
  [
    'a source identity that the trust policy does not allow',
    'alice',
    'deploy',
    { SourceIdentity: 'me' },
    denied('alice', 'sts:SetSourceIdentity', 'deploy'),
  ],
  [
    'more time than the role has',
    'alice',
    'deploy',
    { DurationSeconds: 7201 },
    'ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role.',
  ],
  ['as much time as the role has', 'alice', 'deploy', { DurationSeconds: 7200 }, 'ok'],
  [
    'too little time',
    'alice',
    'deploy',
    { DurationSeconds: 899 },
    "ValidationError: 1 validation error detected: Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900",
  ],
  [
    'a name of one letter',
    'alice',
    'deploy',
    { RoleSessionName: 'a' },
    "ValidationError: 1 validation error detected: Value 'a' at 'roleSessionName' failed to satisfy constraint: Member must have length greater than or equal to 2",
  ],
  [
    'a name with a slash',
    'alice',
    'deploy',
    { RoleSessionName: 'a/../b' },
    "ValidationError: 1 validation error detected: Value 'a/../b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*",
  ],
  [
    'a name with a line feed',
    'alice',
    'deploy',
    { RoleSessionName: 'abc\n' },
    "ValidationError: 1 validation error detected: Value 'abc\n' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*",
  ],
  [
    'a name in another script',
    'alice',
    'deploy',
    { RoleSessionName: 'αβγ' },
    expect.stringContaining("Value 'αβγ' at 'roleSessionName'"),
  ],
  [
    'tags',
    'alice',
    'deploy',
    { Tags: [{ Key: 'a', Value: 'b' }] },
    'ValidationError: Tags is not supported: sessions have no tags in this version of Drawbridge.',
  ],
  [
    'transitive tags',
    'alice',
    'deploy',
    { TransitiveTagKeys: ['a'] },
    'ValidationError: TransitiveTagKeys is not supported: sessions have no tags in this version of Drawbridge.',
  ],
  [
    'managed policies',
    'alice',
    'deploy',
    { PolicyArns: [{ arn: 'arn:aws:iam::aws:policy/ReadOnlyAccess' }] },
    'ValidationError: PolicyArns is not supported: there are no managed policies here.',
  ],
  [
    'a second factor',
    'alice',
    'deploy',
    { SerialNumber: 'GAHT12345678', TokenCode: '123456' },
    'ValidationError: SerialNumber is not supported: there are no devices for a second factor here.',
  ],
  [
    'a session policy that is none',
    'alice',
    'deploy',
    { Policy: '{' },
    expect.stringMatching(/^MalformedPolicyDocument\w*: This policy contains invalid Json/),
  ],
  [
    'a session policy that names a principal',
    'alice',
    'deploy',
    { Policy: document(allow('*')) },
    expect.stringContaining('a session policy has no element Principal'),
  ],
  [
    'a session policy that is too long',
    'alice',
    'deploy',
    { Policy: document({ Effect: 'Allow', Action: 'kms:*', Resource: '*', Sid: 'a'.repeat(2048) }) },
    expect.stringContaining(
      "Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to 2048",
    ),
  ],
  ['a role of no account', 'alice', `../../x`, {}, expect.stringContaining('AccessDenied: ')],
];
