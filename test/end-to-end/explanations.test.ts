/**
 * Explanations over a real instance: what is explained is what callers hear and what is on record, and only the account's
 * root may ask.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { account, rootArn, unixUserArn } from './support/arns.ts';
import { auditLines } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, newKey, present } from './support/daemon.ts';
import { may, writeIdentityPolicy } from './support/identity-policies.ts';
import { allow, deny, policy, rootMayAll } from './support/policies.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from './support/unix-users.ts';
import { send, type WireAnswer } from './support/wire.ts';

const nobody = unixUserArn('nobody');

interface Report {
  readonly principal: string;
  readonly allowed: boolean;
  readonly leftOut: readonly string[];
  readonly explanations: readonly { readonly decision: { readonly because: string; readonly message?: string } }[];
}

const missing = missingForInstance();
sayIfNotRoot('Explanations');
describe.skipIf(!runsAsRoot || missing !== null)('Explanations', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-explanations-'));
  const policies = join(folder, 'policies');
  let instance: Instance;
  let kms: KMS;
  let caller: UnixClient;

  beforeAll(async () => {
    mkdirSync(policies);
    writeIdentityPolicy(
      policies,
      'look.json',
      [nobody, 'group:no-such-group'],
      may(['kms:DescribeKey', 'kms:ListAliases'], '*', { Sid: 'Look' }),
      may('kms:GenerateDataKey', '*', {
        Condition: { StringEquals: { 'drawbridge:UnixUser': 'nobody', 'drawbridge:UnixGroup': 'nogroup' } },
      }),
    );
    instance = await startInstance({ policies });
    kms = kmsOver(instance.socket);
    caller = await UnixClient.start(instance.socket, unixUsers.nobody);
  }, bootTimeoutMs);
  afterAll(async () => {
    await caller?.stop();
    kms?.destroy();
    await instance?.stop();
    rmSync(folder, { recursive: true, force: true });
  }, bootTimeoutMs);

  const post = (path: string, question: unknown): Promise<WireAnswer> =>
    send(instance.socket, { path: `/access/${path}`, body: JSON.stringify(question) });
  const explain = async (question: object): Promise<Report> => {
    const { status, body } = await post('explain', question);
    expect([status, body]).toEqual([200, body]);
    return JSON.parse(body) as Report;
  };
  const Plaintext = Buffer.from('why');

  interface Case {
    readonly name: string;
    /** On the key, beside one for the root. */
    readonly statement?: object;
    readonly grantTo?: { readonly EncryptionContextSubset: Record<string, string> };
    readonly operation: string;
    /** Of the request, beside the key. */
    readonly members?: Readonly<Record<string, unknown>>;
    readonly because: string;
  }
  const when = (statement: object, Condition: object): object => ({ ...statement, Condition });
  const context = (app: string) => ({ EncryptionContext: { app } });
  const ofKeyPolicy = 'key policy statement "it"';
  const delegated = 'key policy statement 0 delegates to the account and no identity policy allows';
  const encryptFor = (Condition: object): object => ({ Sid: 'it', ...when(allow(nobody, 'kms:Encrypt'), Condition) });
  const cases: readonly Case[] = [
    { name: 'a statement allows', statement: encryptFor({}), operation: 'Encrypt', because: ofKeyPolicy },
    {
      name: 'a statement denies',
      statement: { Sid: 'it', ...deny('*', 'kms:DescribeKey') },
      operation: 'DescribeKey',
      because: `${ofKeyPolicy} denies`,
    },
    {
      name: 'the encryption context is the right one',
      statement: encryptFor({ StringEquals: { 'kms:EncryptionContext:app': 'web' } }),
      operation: 'Encrypt',
      members: context('web'),
      because: ofKeyPolicy,
    },
    {
      name: 'the encryption context is another one',
      statement: encryptFor({ StringEquals: { 'kms:EncryptionContext:app': 'web' } }),
      operation: 'Encrypt',
      members: context('mail'),
      because: delegated,
    },
    {
      name: 'the Unix user and the way he comes are the right ones',
      statement: encryptFor({ StringEquals: { 'drawbridge:UnixUser': 'nobody', 'drawbridge:Transport': 'unix' } }),
      operation: 'Encrypt',
      because: ofKeyPolicy,
    },
    {
      name: 'the time has come',
      statement: encryptFor({ DateGreaterThan: { 'aws:CurrentTime': '2020-01-01T00:00:00Z' } }),
      operation: 'Encrypt',
      because: ofKeyPolicy,
    },
    {
      name: 'the key is named by no alias',
      statement: encryptFor({ Null: { 'kms:RequestAlias': 'false' } }),
      operation: 'Encrypt',
      because: delegated,
    },
    {
      name: 'an identity policy allows where the account is allowed',
      operation: 'DescribeKey',
      because: 'identity policy look.json statement "Look"',
    },
    {
      name: 'a condition of an identity policy is about the names of the user and his group',
      operation: 'GenerateDataKey',
      members: { KeySpec: 'AES_256' },
      because: 'identity policy look.json statement 1',
    },
    { name: 'nothing allows', operation: 'GetKeyPolicy', because: delegated },
    {
      name: 'a grant allows',
      grantTo: { EncryptionContextSubset: { app: 'web' } },
      operation: 'Encrypt',
      members: context('web'),
      because: 'grant ID',
    },
    {
      name: "a grant's constraint is not met",
      grantTo: { EncryptionContextSubset: { app: 'web' } },
      operation: 'Encrypt',
      members: context('mail'),
      because: delegated,
    },
  ];

  test.each(cases)('say what the caller hears and what is on record: $name', async (item) => {
    const { id } = await newKey(kms, policy(rootMayAll, ...(item.statement === undefined ? [] : [item.statement])));
    const { GrantId } =
      item.grantTo === undefined
        ? {}
        : await kms.createGrant({
            KeyId: id,
            GranteePrincipal: nobody,
            Operations: ['Encrypt'],
            Constraints: item.grantTo,
          });
    const Request = { KeyId: id, ...item.members };
    const report = await explain({ Operation: item.operation, Request, UnixUser: 'nobody', Groups: ['nogroup'] });
    const told = await caller.send(item.operation, {
      ...Request,
      ...(item.operation === 'Encrypt' ? { Plaintext } : {}),
    });
    const recorded = auditLines(instance.dir).at(-1);
    const because = item.because.replace('grant ID', `grant ${GrantId}`);
    expect(report.principal).toBe(nobody);
    expect(report.explanations.map(({ decision }) => decision.because)).toEqual([because]);
    expect(recorded?.['additionalEventData']).toMatchObject({ decision: { allowed: report.allowed, because } });
    expect(told.ok).toBe(report.allowed);
    const message = report.explanations[0]?.decision.message;
    if (!told.ok) expect([told.name, told.message]).toEqual(['AccessDeniedException', message]);
  });

  test('who needs several permissions is told of all, and of no condition that alone would not help', async () => {
    const condition = { StringEquals: { 'aws:PrincipalType': 'AssumedRole' } };
    const { id } = await newKey(kms, policy(rootMayAll, when(allow(nobody, 'kms:UpdateAlias'), condition)));
    await kms.createAlias({ AliasName: 'alias/from', TargetKeyId: (await newKey(kms, policy(rootMayAll))).id });
    const Request = { AliasName: 'alias/from', TargetKeyId: id };
    const report = await explain({ Operation: 'UpdateAlias', Request, Principal: nobody });
    expect(report.explanations.map(({ decision }) => decision.because)).toEqual([
      'no identity policy allows',
      delegated,
      delegated,
    ]);
    const { body } = await post('who-can', { Operation: 'UpdateAlias', Request });
    expect(JSON.parse(body).candidates).toContainEqual({
      who: nobody,
      allowed: false,
      because: 'no identity policy allows',
      unmet: [],
    });
  });

  test('what the request leaves out is named, and bytes that decide nothing are refused', async () => {
    const { id } = await newKey(kms);
    const question = { Operation: 'Sign', Request: { KeyId: id }, Principal: nobody };
    expect((await explain(question)).leftOut).toEqual(['SigningAlgorithm']);
    const refused = await post('explain', { ...question, Request: { KeyId: id, Message: 'c2VjcmV0' } });
    expect([refused.status, JSON.parse(refused.body)]).toEqual([
      400,
      {
        __type: 'ValidationException',
        message: "'Message' decides nothing about Sign; what does: KeyId, MessageType, SigningAlgorithm, DryRun",
      },
    ]);
  });

  test('who can is the root, whom documents and grants name, whether or not he can call, and everybody else as one', async () => {
    const federated = `arn:aws:sts::${account}:federated-user/ann`;
    const { id } = await newKey(
      kms,
      policy(
        rootMayAll,
        {
          Sid: 'it',
          ...when(allow(unixUserArn('www-data'), 'kms:Encrypt'), {
            StringEquals: { 'kms:EncryptionContext:app': 'web' },
          }),
        },
        allow(federated, 'kms:Encrypt'),
      ),
    );
    const { GrantId } = await kms.createGrant({
      KeyId: id,
      GranteePrincipal: unixUserArn('daemon'),
      Operations: ['Encrypt'],
    });
    const ask = async (members: object): Promise<readonly (readonly unknown[])[]> => {
      const { body } = await post('who-can', { Operation: 'Encrypt', Request: { KeyId: id, ...members } });
      const { candidates } = JSON.parse(body) as {
        candidates: { who: string; allowed: boolean; because: string; unmet: unknown[] }[];
      };
      return candidates.map(({ who, allowed, because, unmet }) => [who, allowed, because, unmet.length]);
    };
    const row = (who: string, allowed: boolean, because: string, unmet = 0) => [who, allowed, because, unmet];
    const others = [
      row(federated, false, `\`${federated}\` is no user, role or session`),
      row(nobody, false, delegated),
      row(unixUserArn('daemon'), true, `grant ${present(GrantId)}`),
      row('group:no-such-group', false, 'there is no group `no-such-group` on this machine'),
      row('anybody else', false, delegated),
    ];
    const root = row(rootArn, true, 'key policy statement 0');
    const wwwData = unixUserArn('www-data');
    expect(await ask({})).toEqual([root, row(wwwData, false, delegated, 1), ...others]);
    expect(await ask(context('web'))).toEqual([root, row(wwwData, true, ofKeyPolicy), ...others]);
  });

  test('a question of anybody but the root is refused, on record, and tells nothing', async () => {
    for (const [path, name] of [
      ['explain', 'ExplainAccess'],
      ['who-can', 'ListWhoCan'],
      ['simulate', 'SimulateChanges'],
    ] as const) {
      const asked = ['-s', '--unix-socket', 'kms.sock', `http://kms/access/${path}`, '-d', '{}'];
      const { stdout } = spawnSync('curl', asked, { cwd: instance.dir, ...unixUsers.nobody, encoding: 'utf8' });
      const message = `User: ${nobody} is not authorized to perform: drawbridge:${name} because only the account's root is`;
      expect(JSON.parse(stdout)).toEqual({ __type: 'AccessDeniedException', message });
      expect(auditLines(instance.dir).at(-1)).toMatchObject({
        eventName: name,
        eventSource: 'iam.amazonaws.com',
        errorCode: 'AccessDeniedException',
        errorMessage: message,
        userIdentity: { arn: nobody },
      });
    }
  });

  const who = { Operation: 'ListKeys', Principal: nobody };
  const badQuestions: readonly (readonly [string, unknown, string, string])[] = [
    ['no object', [], 'SerializationException', 'Start of structure or map found where not expected.'],
    ['nobody', { Operation: 'ListKeys' }, 'ValidationException', 'Either Principal or UnixUser must say who asks.'],
    [
      'two askers',
      { ...who, UnixUser: 'nobody' },
      'ValidationException',
      'Either Principal or UnixUser must say who asks.',
    ],
    [
      'a principal that is none',
      { ...who, Principal: 'me' },
      'ValidationException',
      'Principal must be the ARN of a user, a role, a session or the account.',
    ],
    [
      'a principal of another account',
      { ...who, Principal: 'arn:aws:iam::111122223333:root' },
      'ValidationException',
      '`arn:aws:iam::111122223333:root` is not of account 000000000000, and nobody else can call',
    ],
    [
      'an access key of a Unix user',
      { Operation: 'ListKeys', UnixUser: 'nobody', Transport: 'tcp', Credentials: 'accessKey' },
      'ValidationException',
      'An access key is of a Principal, and of no UnixUser.',
    ],
    [
      'a time of issue that is none',
      { ...who, Transport: 'tcp', IssuedAt: 'then' },
      'ValidationException',
      'IssuedAt must be a time such as 2030-01-31T12:00:00Z.',
    ],
    [
      'a user whom nobody knows',
      { Operation: 'ListKeys', UnixUser: 'no such user' },
      'ValidationException',
      'there is no user `no such user` on this machine',
    ],
    [
      'a group that nobody knows',
      { ...who, Groups: ['no such group'] },
      'ValidationException',
      'there is no group `no such group` on this machine',
    ],
    [
      'an operation that is none',
      { ...who, Operation: 'constructor' },
      'ValidationException',
      '`constructor` is no operation of this version',
    ],
    [
      'a time that is none',
      { ...who, At: 'tomorrow' },
      'ValidationException',
      'At must be a time such as 2030-01-31T12:00:00Z.',
    ],
    ['a request that is none', { ...who, Request: 7 }, 'SerializationException', 'Request must be an object'],
    [
      'a key that is missing',
      { ...who, Operation: 'Encrypt' },
      'ValidationException',
      "Value null at 'keyId' failed to satisfy constraint: Member must not be null",
    ],
    [
      'a Region that is missing',
      { ...who, Operation: 'UpdatePrimaryRegion', Request: { KeyId: 'alias/any' } },
      'ValidationException',
      "Value null at 'primaryRegion' failed to satisfy constraint: Member must not be null; what is asked depends on it (--with PrimaryRegion=VALUE)",
    ],
    [
      'a Region of a replica that is missing',
      { ...who, Operation: 'ReplicateKey', Request: { KeyId: 'alias/any' } },
      'ValidationException',
      "Value null at 'replicaRegion' failed to satisfy constraint: Member must not be null; what is asked depends on it (--with ReplicaRegion=VALUE)",
    ],
    [
      'a ciphertext whose key is missing',
      { ...who, Operation: 'Decrypt' },
      'ValidationException',
      'KeyId is required when DryRunModifiers contains IGNORE_CIPHERTEXT.',
    ],
    [
      'a key that is not there',
      { ...who, Operation: 'Encrypt', Request: { KeyId: 'alias/none' } },
      'NotFoundException',
      'Alias arn:aws:kms:us-east-1:000000000000:alias/none is not found.',
    ],
  ];
  test.each(badQuestions)('a question with %s is refused', async (_name, question, name, message) => {
    const { status, body } = await post('explain', question);
    expect([status, JSON.parse(body)]).toEqual([400, { __type: name, message }]);
  });

  test('changes that would be refused are refused, and more requests than one answer takes', async () => {
    const simulate = async (question: object): Promise<unknown> => JSON.parse((await post('simulate', question)).body);
    const { id } = await newKey(kms);
    const Requests = Array.from({ length: 501 }, () => ({ ...who, Resources: [] }));
    expect(await simulate({ Requests })).toMatchObject({ __type: 'ValidationException' });
    expect(await simulate({ KeyPolicies: [{ KeyId: id, Policy: '{}' }], Requests: [] })).toEqual({
      __type: 'MalformedPolicyDocumentException',
      message: 'Policy: the element Statement is missing.',
    });
    expect(await simulate({ IdentityPolicies: [{ Name: 'a.json', Text: '[]' }], Requests: [] })).toEqual({
      __type: 'MalformedPolicyDocumentException',
      message: 'a.json: the file: it must be an object.',
    });
  });
});
