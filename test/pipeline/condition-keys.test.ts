/** The table of condition keys and the operations hold together, and each key has the value that it is documented to have. */

import { describe, expect, test } from 'vitest';
import type { ConditionKey } from '../../src/authorization/language/condition-vocabulary.ts';
import { tooMuchWork } from '../../src/authorization/language/work-budget.ts';
import type { Caller } from '../../src/identity/caller.ts';
import type { KeyDirectory } from '../../src/keys/key-directory.ts';
import type { KmsKey } from '../../src/keys/kms-key.ts';
import type { OperationName } from '../../src/kms/operation-names.ts';
import type { AnyOperation } from '../../src/operations/declaration/operation.ts';
import { findOperation, isUnbuilt, operations } from '../../src/operations/find-operation.ts';
import { RequestQuestion } from '../../src/pipeline/access-question.ts';
import { conditionKeys, conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import type { QuestionSource } from '../../src/pipeline/question-source.ts';
import { alice, keyArn, principal, realm } from '../authorization/policies.ts';

const needs = operations.flatMap(({ name, needs: { resources = [], keys = {} } }) => {
  return [...resources, ...Object.values(keys)].map(({ conditions }) => ({ name, conditions: conditions ?? [] }));
});
const names = new Set(conditionKeys.map(({ name }) => name));
const declared = new Set(needs.flatMap(({ conditions }) => conditions));

/** Keys of operations that AWS KMS has and this version has not; each leaves this list with its operation. */
const ofUnbuilt: Readonly<Record<string, OperationName>> = {
  'kms:ExpirationModel': 'ImportKeyMaterial',
  'kms:PrimaryRegion': 'UpdatePrimaryRegion',
  'kms:ReplicaRegion': 'ReplicateKey',
  'kms:RotationPeriodInDays': 'EnableKeyRotation',
  'kms:ScheduleKeyDeletionPendingWindowInDays': 'ScheduleKeyDeletion',
  'kms:ValidTo': 'ImportKeyMaterial',
  'kms:WrappingAlgorithm': 'GetParametersForImport',
  'kms:WrappingKeySpec': 'GetParametersForImport',
};

test('every condition key that an operation declares is in the table', () => {
  const unknown = needs.flatMap(({ name, conditions }) =>
    conditions.filter((key) => !names.has(key)).map((key) => `${name}: ${key}`),
  );
  expect(unknown).toEqual([]);
});

test('every condition key that operations have to declare is declared by one, or its operation is not built', () => {
  const silent = conditionKeys
    .filter(({ on, name }) => on === 'declared' && !declared.has(name))
    .map(({ name }) => name);
  expect(silent).toEqual(Object.keys(ofUnbuilt).filter((name) => isUnbuilt(ofUnbuilt[name] ?? '')));
});

test('what is known of a key is known of one that is being created', () => {
  const { conditions = [] } = findOperation('CreateKey')?.needs.resources?.[0] ?? {};
  const unasked = conditionKeys.filter(({ on, name }) => on === 'key' && !conditions.includes(name));
  // It has no alias yet, and its tags are the request's.
  expect(unasked.map(({ name }) => name)).toEqual(['kms:RequestAlias', 'kms:ResourceAliases', 'aws:ResourceTag']);
});

test('no name is there twice, in any case', () => {
  expect(new Set(conditionKeys.map(({ name }) => name.toLowerCase())).size).toBe(conditionKeys.length);
});

test.each([
  ['kms:keyspec', 'kms:KeySpec', undefined],
  ['KMS:EncryptionContext:aws:s3:arn', 'kms:EncryptionContext', 'aws:s3:arn'],
  ['aws:ResourceTag/Cost/Center', 'aws:ResourceTag', 'Cost/Center'],
  ['kms:RecipientAttestation:PCR1', 'kms:RecipientAttestation', 'PCR1'],
])('%s is the key %s with the parameter %s', (text, name, parameter) => {
  const key = conditionVocabulary(text);
  expect({ name: key?.name, parameter: key?.parameter }).toEqual({ name, parameter });
});

test.each(['kms:EncryptionContext', 'kms:EncryptionContext/a', 'kms:KeySpec:x', 'aws:ResourceTag:x', 'kms:', 'x', ''])(
  '%j is no key',
  (name) => {
    expect(conditionVocabulary(name)).toBeUndefined();
  },
);

const key = {
  arn: keyArn,
  record: {
    keyId: 'k',
    keySpec: 'RSA_2048',
    keyUsage: 'SIGN_VERIFY',
    origin: 'AWS_KMS',
    tags: [
      { TagKey: 'Team', TagValue: 'red' },
      { TagKey: 'team', TagValue: 'blue' },
    ],
  },
} as unknown as KmsKey;
const directory = { realm, aliases: { namesOf: () => ['alias/a', 'alias/b'] } } as unknown as KeyDirectory;
const user: Caller = {
  type: 'IAMUser',
  arn: alice,
  accountId: realm.account,
  userName: 'alice',
  proof: { kind: 'unix', uid: 7, gid: 8, pid: 9, groups: [] },
};
const inRole: Caller = {
  type: 'AssumedRole',
  arn: principal('arn:aws:sts::000000000000:assumed-role/batch/eve'),
  role: principal('arn:aws:iam::000000000000:role/batch'),
  accountId: realm.account,
  proof: { kind: 'sigv4', accessKeyId: 'ASIA', sourceIp: '127.0.0.1' },
};

const inSession: Caller = {
  ...user,
  proof: {
    kind: 'sigv4',
    accessKeyId: 'ASIA',
    sourceIp: '127.0.0.1',
    issuedTo: { kind: 'unix', uid: 7, gid: 8, pid: 9, groups: [], issuedAtMs: Date.UTC(2029, 11, 31, 23, 30) },
  },
};

interface Asked {
  readonly operation?: string;
  readonly request?: Record<string, unknown>;
  readonly caller?: Caller;
}

/** What a request of an operation has for a key. */
function valueAsked(name: string, asked: Asked): readonly string[] | undefined {
  return questionOf(asked).context.valuesOf(keyCalled(name));
}

/** Of a request of an operation: its first need is asked, and it is about the key where it has one. */
function questionOf({ operation = 'Encrypt', request = {}, caller = user }: Asked): RequestQuestion {
  const found = findOperation(operation) as AnyOperation;
  const need = Object.values(found.needs.keys ?? {})[0] ?? found.needs.resources?.[0];
  if (need === undefined) throw new Error(`${operation} needs nothing`);
  const source: QuestionSource = {
    operation: found,
    request,
    caller,
    directory,
    origin: {
      requestId: 'r',
      receivedAtMs: Date.UTC(2030, 0, 1),
      sourceIPAddress: caller.proof.kind === 'unix' ? 'unix' : '127.0.0.1',
      userAgent: 'curl/8',
    },
    identityPolicies: [],
    peerFacts: ({ uid }) => ({
      userName: () => `u${uid}`,
      groupNames: () => ['g8', 'g9'],
      executable: () => '/usr/bin/app',
      systemdUnit: () => undefined,
    }),
  };
  const isOnKey = found.needs.keys !== undefined;
  return new RequestQuestion(source, need, isOnKey ? keyArn : '*', isOnKey ? key : undefined);
}

function keyCalled(name: string): ConditionKey {
  const found = conditionVocabulary(name);
  if (found === undefined) throw new Error(`${name} is no key`);
  return found;
}

const context = { EncryptionContext: { App: 'web', app: 'db', Env: 'x' } };
const created = { operation: 'CreateKey' };
const grant = {
  operation: 'CreateGrant',
  request: {
    GranteePrincipal: alice,
    Operations: ['Encrypt', 'Decrypt'],
    Constraints: { EncryptionContextSubset: { Dept: 'IT' } },
  },
};

describe('a request has for', () => {
  test.each<[string, Asked, readonly string[] | undefined]>([
    ['kms:CallerAccount', {}, ['000000000000']],
    ['kms:ViaService', {}, undefined],
    ['kms:KeySpec', {}, ['RSA_2048']],
    ['kms:KeyUsage', {}, ['SIGN_VERIFY']],
    ['kms:KeySpec', created, ['SYMMETRIC_DEFAULT']],
    ['kms:KeySpec', { ...created, request: { CustomerMasterKeySpec: 'RSA_4096' } }, ['RSA_4096']],
    ['kms:CustomerMasterKeySpec', { ...created, request: { KeySpec: 'RSA_4096' } }, ['RSA_4096']],
    ['kms:CustomerMasterKeyUsage', created, ['ENCRYPT_DECRYPT']],
    ['kms:CustomerMasterKeyUsage', {}, ['SIGN_VERIFY']],
    ['kms:KeySpec', { operation: 'ListKeys' }, undefined],
    ['kms:KeyOrigin', created, ['AWS_KMS']],
    ['kms:MultiRegion', created, ['false']],
    ['kms:MultiRegion', {}, ['false']],
    ['kms:EncryptionAlgorithm', {}, ['SYMMETRIC_DEFAULT']],
    ['kms:EncryptionAlgorithm', { request: { EncryptionAlgorithm: 'RSAES_OAEP_SHA_256' } }, ['RSAES_OAEP_SHA_256']],
    ['kms:EncryptionAlgorithm', { operation: 'DescribeKey' }, undefined],
    ['kms:EncryptionContext:env', { request: context }, ['x']],
    ['kms:EncryptionContext:APP', { request: context }, ['web', 'db']],
    ['kms:EncryptionContext:οδοσ', { request: { EncryptionContext: { ΟΔΟΣ: '1', οδος: '2' } } }, ['1', '2']],
    ['kms:EncryptionContext:none', { request: context }, undefined],
    ['kms:EncryptionContext:__proto__', { request: context }, undefined],
    ['kms:EncryptionContextKeys', { request: context }, ['App', 'app', 'Env']],
    ['kms:EncryptionContextKeys', {}, undefined],
    ['kms:EncryptionContext:Dept', grant, ['IT']],
    ['kms:EncryptionContext:a', { operation: 'ReEncrypt', request: { SourceEncryptionContext: { a: '1' } } }, ['1']],
    ['kms:GrantConstraintType', grant, ['EncryptionContextSubset']],
    ['kms:GrantOperations', grant, ['Encrypt', 'Decrypt']],
    ['kms:GranteePrincipal', grant, [alice]],
    ['kms:RetiringPrincipal', grant, undefined],
    ['kms:GrantIsForAWSResource', grant, ['false']],
    ['kms:RequestAlias', { request: { KeyId: 'alias/a' } }, ['alias/a']],
    ['kms:RequestAlias', { request: { KeyId: 'arn:aws:kms:us-east-1:000000000000:alias/x/y' } }, ['alias/x/y']],
    ['kms:RequestAlias', { request: { KeyId: keyArn } }, undefined],
    ['kms:ResourceAliases', {}, ['alias/a', 'alias/b']],
    ['kms:MessageType', { operation: 'Sign' }, ['RAW']],
    ['kms:BypassPolicyLockoutSafetyCheck', { operation: 'PutKeyPolicy' }, undefined],
    [
      'kms:BypassPolicyLockoutSafetyCheck',
      { operation: 'PutKeyPolicy', request: { BypassPolicyLockoutSafetyCheck: true } },
      ['true'],
    ],
    ['aws:CurrentTime', {}, ['2030-01-01T00:00:00.000Z']],
    ['aws:EpochTime', {}, ['1893456000']],
    ['aws:PrincipalArn', {}, [alice]],
    ['aws:PrincipalArn', { caller: inRole }, ['arn:aws:iam::000000000000:role/batch']],
    ['aws:PrincipalType', { caller: inRole }, ['AssumedRole']],
    ['aws:TokenIssueTime', { caller: inRole }, undefined],
    ['aws:TokenIssueTime', { caller: inSession }, ['2029-12-31T23:30:00.000Z']],
    ['aws:username', {}, ['alice']],
    ['aws:username', { caller: inRole }, undefined],
    ['aws:userid', { caller: inRole }, ['arn:aws:iam::000000000000:role/batch:eve']],
    ['aws:SourceIp', {}, undefined],
    ['aws:SourceIp', { caller: inRole }, ['127.0.0.1']],
    ['aws:SecureTransport', {}, ['true']],
    ['aws:SecureTransport', { caller: inRole }, ['false']],
    ['aws:RequestedRegion', {}, ['us-east-1']],
    ['aws:ResourceTag/team', {}, ['red', 'blue']],
    ['aws:RequestTag/a', { ...created, request: { Tags: [{ TagKey: 'A', TagValue: '1' }] } }, ['1']],
    ['aws:TagKeys', { ...created, request: { Tags: [{ TagKey: 'A', TagValue: '1' }] } }, ['A']],
    ['aws:TagKeys', {}, undefined],
    ['aws:UserAgent', {}, ['curl/8']],
    ['drawbridge:Transport', {}, ['unix']],
    ['drawbridge:Transport', { caller: inRole }, ['tcp']],
    ['drawbridge:UnixUser', {}, ['u7']],
    ['drawbridge:UnixUser', { caller: inRole }, undefined],
    ['drawbridge:UnixGroup', {}, ['g8', 'g9']],
    ['drawbridge:Executable', {}, ['/usr/bin/app']],
    ['drawbridge:SystemdUnit', {}, undefined],
  ])('%s, asked by %o, %j', (name, asked, expected) => {
    expect(valueAsked(name, asked)).toEqual(expected);
  });
});

describe('what a decision may cost', () => {
  const pairs = Object.fromEntries(Array.from({ length: 2000 }, (_, index) => [`k${index}`, 'v']));
  const pairAsked = (index: number): ConditionKey => keyCalled(`kms:EncryptionContext:k${index}`);

  test.each<[string, Readonly<Record<string, string>>]>([
    ['thousands', pairs],
    ['one with a name of 8 KB', { ['k'.repeat(8000)]: 'v' }],
  ])('a thousand conditions on different pairs of a context of %s are too much', (_, EncryptionContext) => {
    const { context } = questionOf({ request: { EncryptionContext } });
    expect(() => Array.from({ length: 1000 }, (_, index) => context.valuesOf(pairAsked(index)))).toThrow(tooMuchWork());
  });

  test('a thousand conditions on the same few pairs are not', () => {
    const { context } = questionOf({ request: { EncryptionContext: pairs } });
    const values = Array.from({ length: 1000 }, (_, index) => context.valuesOf(pairAsked(index % 3)));
    expect(new Set(values.map((value) => value?.join()))).toEqual(new Set(['v']));
  });

  test('a thousand conditions on different pairs of a context of eight are not', () => {
    const few = Object.fromEntries(Object.entries(pairs).slice(0, 8));
    const { context } = questionOf({ request: { EncryptionContext: few } });
    const values = Array.from({ length: 1000 }, (_, index) => context.valuesOf(pairAsked(index)));
    expect(values.filter((value) => value !== undefined)).toHaveLength(8);
  });
});
