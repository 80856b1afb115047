/** The table of condition keys and the operations hold together, and each key has the value that it is documented to have. */

import { describe, expect, test } from 'vitest';
import type { ConditionKey } from '../../src/authorization/language/condition-vocabulary.ts';
import { tooMuchWork } from '../../src/authorization/language/work-budget.ts';
import type { Caller } from '../../src/identity/caller.ts';
import type { KeyDirectory } from '../../src/keys/key-directory.ts';
import type { KmsKey } from '../../src/keys/kms-key.ts';
import { ManagedServices } from '../../src/keys/managed-services.ts';
import type { OperationName } from '../../src/kms/operation-names.ts';
import type { AnyOperation } from '../../src/operations/declaration/operation.ts';
import { findOperation, isUnbuilt, operations } from '../../src/operations/find-operation.ts';
import { RequestQuestion } from '../../src/pipeline/access-question.ts';
import { conditionKeys, conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import type { QuestionSource } from '../../src/pipeline/question-source.ts';
import { assumeRoleConditions } from '../../src/pipeline/role-assumption.ts';
import { alice, keyArn, principal, realm } from '../authorization/policies.ts';
import {
  documentedPermission,
  documentedPermissions,
  operationOfAction,
} from '../operations/documented-permissions.ts';

const needs = operations.flatMap(({ name, needs: { resources = [], keys = {} } }) => {
  return [...resources, ...Object.values(keys)].map(({ conditions }) => ({ name, conditions: conditions ?? [] }));
});
const names = new Set(conditionKeys.map(({ name }) => name));
const declared = new Set([...needs.flatMap(({ conditions }) => conditions), ...assumeRoleConditions]);
const table = 'src/pipeline/condition-key-table.ts';

test('every condition key that an operation declares is in the table', () => {
  const unknown = needs.flatMap(({ name, conditions }) =>
    conditions
      .filter((key) => !names.has(key))
      .map((key) => `give \`${key}\`, which ${name} declares, a row in ${table}`),
  );
  expect(unknown).toEqual([]);
});

test('every condition key that operations have to declare is declared by one, or is of operations that are not built', () => {
  const silent = conditionKeys.filter(({ on, name }) => on === 'declared' && !declared.has(name));
  const missing = silent.flatMap(({ name }) => {
    const operationsOfKey = documentedPermissions
      .filter(({ conditions }) => conditions.includes(name))
      .map(({ action }) => operationOfAction(action));
    const built = operationsOfKey.filter((operation) => !isUnbuilt(operation));
    if (operationsOfKey.length > 0 && built.length === 0) return [];
    return [`declare \`${name}\` in needs.conditions of ${built.join(', ') || 'an operation'}`];
  });
  expect(missing).toEqual([]);
});

test('no need declares a condition key that it has without that', () => {
  const redundant = operations.flatMap(({ name, needs: { keys = {} } }) =>
    Object.entries(keys).flatMap(([need, { conditions = [] }]) =>
      conditionKeys
        .filter((key) => key.on === 'key' && conditions.includes(key.name))
        .map((key) => `${name}: take \`${key.name}\` out of the conditions of ${need}: whatever is about a key has it`),
    ),
  );
  expect(redundant).toEqual([]);
});

test('what is known of a key is known of one that is being created', () => {
  const { conditions = [] } = findOperation('CreateKey')?.needs.resources?.[0] ?? {};
  const unasked = conditionKeys.filter(({ on, name }) => on === 'key' && !conditions.includes(name));
  // It has no alias yet, and its tags are the request's.
  expect(unasked.map(({ name }) => name)).toEqual(['kms:RequestAlias', 'kms:ResourceAliases', 'aws:ResourceTag']);
});

const key = {
  arn: keyArn,
  record: {
    keyId: 'mrk-1',
    ...{ region: 'us-east-1', primaryRegion: 'eu-west-1' },
    keySpec: 'RSA_2048',
    keyUsage: 'SIGN_VERIFY',
    origin: 'AWS_KMS',
    tags: [
      { TagKey: 'Team', TagValue: 'red' },
      { TagKey: 'team', TagValue: 'blue' },
    ],
  },
} as unknown as KmsKey;
const otherKeyArn = keyArn.replace('key/1', 'key/2');
const otherKey = { arn: otherKeyArn, record: { ...key.record, keyId: 'l' } } as unknown as KmsKey;
const services = new ManagedServices(realm);
services.replace(new Map([['ebs', ['arn:aws:iam::000000000000:role/batch']]]));
const directory = {
  realm,
  aliases: { namesOf: () => ['alias/a', 'alias/b'] },
  services,
  lastUses: { daysWithoutUse: (_: unknown, nowMs: number) => (nowMs - Date.UTC(2029, 0, 1)) / 86_400_000 },
  findKey: (keyId: string) => (keyArn.endsWith(keyId) ? key : otherKey),
} as unknown as KeyDirectory;
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

/** Another process of the same user. */
const inUnit = { kind: 'unix', uid: 7, gid: 8, pid: 10, groups: [] } as const;
const inSession: Caller = {
  ...user,
  proof: {
    kind: 'sigv4',
    accessKeyId: 'ASIA',
    sourceIp: '127.0.0.1',
    issuedTo: { kind: 'unix', uid: 7, gid: 8, pid: 9, groups: [], issuedAtMs: Date.UTC(2029, 11, 31, 23, 30) },
  },
};

const inAssumedRole: Caller = {
  ...inRole,
  proof: {
    ...{ kind: 'sigv4', accessKeyId: 'ASIA', sourceIp: '127.0.0.1' },
    session: { issuedAtMs: Date.UTC(2029, 11, 31), by: alice, chain: [], sourceIdentity: 'eve@example' },
  },
};

const tls = { tlsVersion: 'TLSv1.3', cipherSuite: 'TLS_AES_128_GCM_SHA256' };
const overTls: Caller = { ...user, proof: { kind: 'sigv4', accessKeyId: 'AKIA', sourceIp: '192.0.2.7', tls } };

interface Asked {
  readonly operation?: OperationName | 'AssumeRole';
  readonly request?: Record<string, unknown>;
  readonly caller?: Caller;
}

/** What a request of an operation has for a key. */
function valueAsked(name: string, asked: Asked): readonly string[] | undefined {
  return questionOf(asked).context.valuesOf(keyCalled(name));
}

/** What is asked for AssumeRole, and for an operation that is not built: what AWS documents for it, on a key. */
function unbuilt(operation: OperationName | 'AssumeRole'): AnyOperation {
  const assuming = { needs: { resources: [{ action: 'sts:AssumeRole', conditions: assumeRoleConditions }] } };
  if (operation === 'AssumeRole') return assuming as unknown as AnyOperation;
  const { conditions } = documentedPermission(`kms:${operation}`);
  const need = { action: `kms:${operation}`, conditions, key: () => key, states: 'administration' } as const;
  // Safe: a question looks at nothing but the needs.
  return { needs: { keys: { key: need } } } as unknown as AnyOperation;
}

/** Of a request of an operation: its first need is asked, and it is about the key where it has one. */
function questionOf({ operation = 'Encrypt', request = {}, caller = user }: Asked): RequestQuestion {
  const found = findOperation(operation) ?? unbuilt(operation);
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
    sessionPolicy: undefined,
    peerFacts: ({ uid, pid }) => ({
      userName: () => `u${uid}`,
      groupNames: () => ['g8', 'g9'],
      executable: () => '/usr/bin/app',
      systemdUnit: () => (pid === inUnit.pid ? 'app.service' : undefined),
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
const created = { operation: 'CreateKey' } as const;
const grant = {
  operation: 'CreateGrant',
  request: {
    GranteePrincipal: alice,
    Operations: ['Encrypt', 'Decrypt'],
    Constraints: { EncryptionContextSubset: { Dept: 'IT' } },
  },
} as const;
const toService = {
  operation: 'CreateGrant',
  request: {
    GranteeServicePrincipal: 'dynamodb.amazonaws.com',
    RetiringPrincipal: alice,
    RetiringServicePrincipal: 's3.amazonaws.com',
    Operations: ['Decrypt'],
    Constraints: { SourceArn: 'arn:aws:s3:::bucket' },
  },
} as const;
/** Without a ciphertext: which keys they are is said by the request alone. */
const reEncrypted = (DestinationKeyId: string): Asked => ({
  operation: 'ReEncrypt',
  request: { SourceKeyId: keyArn, DestinationKeyId, DryRun: true, DryRunModifiers: ['IGNORE_CIPHERTEXT'] },
});
const signing: Asked = { operation: 'Sign', request: { SigningAlgorithm: 'ECDSA_SHA_256', MessageType: 'DIGEST' } };

describe('a request has for', () => {
  const rows: readonly (readonly [name: string, asked: Asked, values: readonly string[] | undefined])[] = [
    ['kms:CallerAccount', {}, ['000000000000']],
    ['kms:ViaService', {}, undefined],
    ['kms:ViaService', { caller: inRole }, ['ebs.us-east-1.amazonaws.com']],
    ['aws:ViaAWSService', { caller: inRole }, ['true']],
    ['kms:GrantIsForAWSResource', { ...grant, caller: inRole }, ['true']],
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
    ['kms:MultiRegion', {}, ['true']],
    ['kms:MultiRegionKeyType', {}, ['REPLICA']],
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
    ['kms:DataKeyPairSpec', { operation: 'GenerateDataKeyPair', request: { KeyPairSpec: 'RSA_2048' } }, ['RSA_2048']],
    [
      'kms:EncapsulationAlgorithm',
      { operation: 'Encapsulate', request: { EncapsulationAlgorithm: 'ML_KEM' } },
      ['ML_KEM'],
    ],
    [
      'kms:KeyAgreementAlgorithm',
      { operation: 'DeriveSharedSecret', request: { KeyAgreementAlgorithm: 'ECDH' } },
      ['ECDH'],
    ],
    ['kms:MacAlgorithm', { operation: 'GenerateMac', request: { MacAlgorithm: 'HMAC_SHA_256' } }, ['HMAC_SHA_256']],
    ['kms:MacAlgorithm', { operation: 'VerifyMac', request: { MacAlgorithm: 'HMAC_SHA_384' } }, ['HMAC_SHA_384']],
    ['kms:SigningAlgorithm', signing, ['ECDSA_SHA_256']],
    ['kms:SigningAlgorithm', { ...signing, operation: 'Verify' }, ['ECDSA_SHA_256']],
    ['kms:MessageType', signing, ['DIGEST']],
    ['kms:ReEncryptOnSameKey', reEncrypted(keyArn), ['true']],
    ['kms:ReEncryptOnSameKey', reEncrypted(otherKeyArn), ['false']],
    ['kms:GrantConstraintSourceArn', toService, ['arn:aws:s3:::bucket']],
    ['kms:GrantConstraintSourceArn', grant, undefined],
    ['kms:GranteeServicePrincipal', toService, ['dynamodb.amazonaws.com']],
    ['kms:RetiringPrincipal', toService, [alice]],
    ['kms:RetiringServicePrincipal', toService, ['s3.amazonaws.com']],
    [
      'kms:ScheduleKeyDeletionPendingWindowInDays',
      { operation: 'ScheduleKeyDeletion', request: { PendingWindowInDays: 7 } },
      ['7'],
    ],
    ['kms:ScheduleKeyDeletionPendingWindowInDays', { operation: 'ScheduleKeyDeletion' }, undefined],
    ['kms:TrailingDaysWithoutKeyUsage', { operation: 'ScheduleKeyDeletion' }, ['365']],
    ['kms:TrailingDaysWithoutKeyUsage', { operation: 'DisableKey' }, ['365']],
    ['kms:TrailingDaysWithoutKeyUsage', { operation: 'EnableKey' }, undefined],
    ['kms:RotationPeriodInDays', { operation: 'EnableKeyRotation', request: { RotationPeriodInDays: 90 } }, ['90']],
    [
      'kms:ExpirationModel',
      { operation: 'ImportKeyMaterial', request: { ExpirationModel: 'KEY_MATERIAL_EXPIRES' } },
      ['KEY_MATERIAL_EXPIRES'],
    ],
    [
      'kms:ValidTo',
      { operation: 'ImportKeyMaterial', request: { ValidTo: new Date(Date.UTC(2030, 0, 1)) } },
      ['1893456000'],
    ],
    ['kms:ValidTo', { operation: 'ImportKeyMaterial' }, undefined],
    [
      'kms:WrappingAlgorithm',
      { operation: 'GetParametersForImport', request: { WrappingAlgorithm: 'RSAES_OAEP_SHA_256' } },
      ['RSAES_OAEP_SHA_256'],
    ],
    [
      'kms:WrappingKeySpec',
      { operation: 'GetParametersForImport', request: { WrappingKeySpec: 'RSA_2048' } },
      ['RSA_2048'],
    ],
    ['kms:PrimaryRegion', { operation: 'UpdatePrimaryRegion', request: { PrimaryRegion: 'eu-west-1' } }, ['eu-west-1']],
    ['kms:ReplicaRegion', { operation: 'ReplicateKey', request: { ReplicaRegion: 'eu-west-1' } }, ['eu-west-1']],
    ['aws:PrincipalAccount', {}, ['000000000000']],
    ['aws:PrincipalIsAWSService', {}, ['false']],
    ['aws:ResourceAccount', {}, ['000000000000']],
    ['aws:ViaAWSService', {}, ['false']],
    ['aws:CurrentTime', {}, ['2030-01-01T00:00:00.000Z']],
    ['aws:EpochTime', {}, ['1893456000']],
    ['aws:PrincipalArn', {}, [alice]],
    ['aws:PrincipalArn', { caller: inRole }, ['arn:aws:iam::000000000000:role/batch']],
    ['aws:PrincipalType', { caller: inRole }, ['AssumedRole']],
    ['aws:TokenIssueTime', { caller: inRole }, undefined],
    ['aws:TokenIssueTime', { caller: inSession }, ['2029-12-31T23:30:00.000Z']],
    ['aws:TokenIssueTime', { caller: inAssumedRole }, ['2029-12-31T00:00:00.000Z']],
    ['aws:SourceIdentity', { caller: inAssumedRole }, ['eve@example']],
    ['sts:ExternalId', { operation: 'AssumeRole', request: { ExternalId: 'x' } }, ['x']],
    ['sts:RoleSessionName', { operation: 'AssumeRole', request: { RoleSessionName: 'x' } }, ['x']],
    ['sts:SourceIdentity', { operation: 'AssumeRole', request: { SourceIdentity: 'x' } }, ['x']],
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
    ['drawbridge:Transport', { caller: overTls }, ['tls']],
    ['drawbridge:UnixUser', {}, ['u7']],
    ['drawbridge:UnixUser', { caller: inRole }, undefined],
    ['drawbridge:UnixGroup', {}, ['g8', 'g9']],
    ['drawbridge:Executable', {}, ['/usr/bin/app']],
    ['drawbridge:SystemdUnit', {}, undefined],
    ['drawbridge:SystemdUnit', { caller: { ...user, proof: inUnit } }, ['app.service']],
  ];

  test.each(rows)('%s, asked by %o, %j', (name, asked, expected) => {
    expect(valueAsked(name, asked)).toEqual(expected);
  });

  test('every key of the table but those that nothing has: a value in some row', () => {
    const valued = new Set(rows.filter(([, , values]) => values !== undefined).map(([name]) => keyCalled(name).name));
    const missing = conditionKeys.filter(({ on, name }) => on !== 'never' && !valued.has(name));
    expect(missing.map(({ name }) => `add a row for \`${name}\`, with the request that has a value for it`)).toEqual(
      [],
    );
  });
});

describe('what a decision may cost', () => {
  const pairs = Object.fromEntries(Array.from({ length: 2000 }, (_, index) => [`k${index}`, 'v']));
  const pairAsked = (index: number): ConditionKey => keyCalled(`kms:EncryptionContext:k${index}`);

  test.each<[string, Readonly<Record<string, string>>, number]>([
    ['thousands', pairs, 1000],
    ['eight', Object.fromEntries(Object.entries(pairs).slice(0, 8)), 8],
    ['one with a name of 8 KB', { ['k'.repeat(8000)]: 'v' }, 0],
  ])('a thousand conditions on different pairs of a context of %s are within it', (_, EncryptionContext, found) => {
    const { context } = questionOf({ request: { EncryptionContext } });
    const values = Array.from({ length: 1000 }, (_, index) => context.valuesOf(pairAsked(index)));
    expect(values.filter((value) => value !== undefined)).toHaveLength(found);
  });

  test('a pair that is asked about has eight spellings at most; tags have all, so that nobody locks a key with them', () => {
    const names = ['k', 'K', '\u212a'].flatMap((k) => ['e', 'E'].flatMap((e) => [`${k}${e}y`, `${k}${e}Y`]));
    const spelled = (count: number) => Object.fromEntries(names.slice(0, count).map((name) => [name, name]));
    const asked = keyCalled('kms:EncryptionContext:key');
    const context = (count: number) => questionOf({ request: { EncryptionContext: spelled(count) } }).context;
    expect(context(8).valuesOf(asked)).toHaveLength(8);
    expect(() => context(9).valuesOf(asked)).toThrow(tooMuchWork());
    expect(context(9).valuesOf(keyCalled('kms:EncryptionContext:other'))).toBeUndefined();
    const tagged = questionOf({ request: { Tags: names.map((TagKey) => ({ TagKey, TagValue: 'v' })) } }).context;
    expect(tagged.valuesOf(keyCalled('aws:RequestTag/key'))).toHaveLength(12);
  });
});
