/**
 * AssumeRole on a whole daemon: unmodified clients of STS and KMS with access keys of their own, over the loopback listener. What a
 * token is made of, and time, are tested in `test/identity/role-sessions.test.ts`.
 */

import type { KMS } from '@aws-sdk/client-kms';
import type { AssumeRoleCommandInput } from '@aws-sdk/nested-clients/sts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { send } from '../end-to-end/support/wire.ts';
import { softHsm2 } from '../support/tokens.ts';
import {
  allow,
  answers,
  denied,
  document,
  iam,
  roleArn,
  sessionArn,
  trust,
  user,
  usual,
} from './assume-role-answers.ts';
import { testRoleClients } from './role-clients.ts';
import { type Credentials, encrypt, outcome, RoleInstance } from './role-instance.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: roles: ${softHsm2.missing}\n`);

const mayAssume = { Effect: 'Allow', Action: 'sts:AssumeRole', Resource: `${iam}:role/ci/*` };
const policies = {
  alice: { AttachedTo: [user('alice')], Statement: [mayAssume] },
  deploy: {
    AttachedTo: [roleArn('deploy')],
    Statement: [{ Effect: 'Allow', Action: ['kms:Encrypt', 'kms:ListKeys'], Resource: '*' }],
  },
  denied: { AttachedTo: [user('eve')], Statement: [{ Effect: 'Deny', Action: 'sts:*', Resource: '*' }] },
};

describe.skipIf(softHsm2.missing !== null)('a role', () => {
  let instance: RoleInstance;
  const people: Record<string, Credentials> = {};
  let openKey: string;
  beforeAll(async () => {
    instance = await RoleInstance.start(usual, policies);
    for (const name of ['alice', 'bob', 'eve']) people[name] = await instance.person(name);
    openKey = await newKey(allow(roleArn('deploy'), 'kms:*'));
  });
  afterAll(() => instance?.stop());

  const alice = (): Credentials => people['alice'] as Credentials;
  const assume = (by: Credentials, role: string, more: Partial<AssumeRoleCommandInput> = {}) =>
    instance.assume(by, role, more);
  const newKey = (...statements: readonly object[]): Promise<string> => instance.newKey(...statements);
  const use = (roles: object): Promise<void> => instance.use(roles);

  test('is assumed by whom its trust policy names, and the session is itself and its role', async () => {
    const { output, credentials, kms } = await assume(alice(), 'deploy', { RoleSessionName: 'a+b=c,d.e@f-g_h' });
    const arn = sessionArn('deploy', 'a+b=c,d.e@f-g_h');
    expect(output.AssumedRoleUser?.Arn).toBe(arn);
    expect(output.AssumedRoleUser?.AssumedRoleId).toMatch(/^AROA[A-Z2-7]{16}:a\+b=c,d\.e@f-g_h$/);
    expect(output.Credentials?.AccessKeyId).toMatch(/^ASIA[A-Z2-7]{16}$/);
    expect(output.PackedPolicySize).toBeUndefined();
    const leftMs = (output.Credentials?.Expiration?.getTime() ?? 0) - Date.now();
    expect(leftMs).toBeGreaterThan(3_500_000);
    expect(leftMs).toBeLessThanOrEqual(3_600_000);
    const told = await instance.whoAmI(credentials);
    expect(told).toContain(`<Arn>${arn}</Arn><UserId>${output.AssumedRoleUser?.AssumedRoleId}</UserId>`);
    expect(await encrypt(kms, openKey)).toBe('ok');
    expect(await encrypt(kms, await newKey(allow(arn)))).toBe('ok');
    expect(await encrypt(kms, await newKey(allow(sessionArn('deploy', 'another'))))).toBe('ok'); // By the identity policy.
    expect(await outcome(kms.describeKey({ KeyId: await newKey(allow(sessionArn('deploy', 'another'))) }))).toContain(
      'because no identity-based policy allows the kms:DescribeKey action',
    );
    expect(await outcome(kms.listKeys({}))).toBe('ok');
  });

  test('is what condition keys say of its sessions', async () => {
    const { kms, output } = await assume(alice(), 'deploy');
    const test = (Condition: object) => ({ ...allow('*', 'kms:DescribeKey'), Condition });
    const holds = async (Condition: object): Promise<boolean> =>
      (await outcome(kms.describeKey({ KeyId: await newKey(test(Condition)) }))) === 'ok';
    expect(await holds({ ArnEquals: { 'aws:PrincipalArn': roleArn('deploy') } })).toBe(true);
    expect(await holds({ ArnEquals: { 'aws:PrincipalArn': sessionArn('deploy', 'work') } })).toBe(false);
    expect(await holds({ StringEquals: { 'aws:PrincipalType': 'AssumedRole' } })).toBe(true);
    expect(await holds({ StringEquals: { 'aws:userid': output.AssumedRoleUser?.AssumedRoleId } })).toBe(true);
    expect(await holds({ DateGreaterThan: { 'aws:TokenIssueTime': '2020-01-01T00:00:00Z' } })).toBe(true);
    expect(await holds({ Null: { 'aws:username': 'true' } })).toBe(true);
    expect(await holds({ Null: { 'sts:RoleSessionName': 'true' } })).toBe(true);
  });

  test.each(answers)('is answered as STS answers: %s', async (_, who, role, more, expected) => {
    expect(await outcome(assume(people[who] as Credentials, role, more))).toEqual(expected);
  });

  test('is not assumed by the account’s root, nor by whom an identity policy denies it', async () => {
    const body = new URLSearchParams({
      Action: 'AssumeRole',
      Version: '2011-06-15',
      RoleArn: roleArn('deploy'),
      RoleSessionName: 'root',
    });
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const answer = await send(instance.socketPath, { headers, body: body.toString() });
    expect(answer.status).toBe(403);
    expect(answer.body).toContain(
      '<Code>AccessDenied</Code><Message>Roles may not be assumed by root accounts.</Message>',
    );
    await use({ ...usual, deploy: { trustPolicy: trust([user('alice'), user('eve')]), maxSessionSeconds: 7200 } });
    expect(await outcome(assume(people['eve'] as Credentials, 'deploy'))).toBe(
      denied('eve', 'sts:AssumeRole', 'deploy'),
    );
    await use(usual);
  });

  test('has sessions whose own policy takes away and never gives', async () => {
    const session = async (...statements: readonly object[]) =>
      assume(alice(), 'deploy', { Policy: document(...statements) });
    const arn = sessionArn('deploy', 'work');
    const own = await newKey(allow(arn));
    const delegating = await newKey();
    const any = { Effect: 'Allow', Action: '*', Resource: '*' };

    const wide = await session(any);
    expect(wide.output.PackedPolicySize).toBe(Math.ceil((document(any).length * 100) / 2048));
    expect(await encrypt(wide.kms, openKey)).toBe('ok');
    expect(await encrypt(wide.kms, delegating)).toBe('ok');
    // The identity policies of the role do not allow it, and a session policy gives nothing.
    expect(await outcome(wide.kms.describeKey({ KeyId: delegating }))).toContain(
      'because no identity-based policy allows the kms:DescribeKey action',
    );

    const narrow = await session({ Effect: 'Allow', Action: 'kms:Encrypt', Resource: '*' });
    expect(await encrypt(narrow.kms, openKey)).toBe('ok');
    expect(await outcome(narrow.kms.describeKey({ KeyId: openKey }))).toContain(
      `User: ${arn} is not authorized to perform: kms:DescribeKey on resource: arn:aws:kms:us-east-1:000000000000:key/${openKey} because no session policy allows the kms:DescribeKey action`,
    );
    expect(await outcome(narrow.kms.listKeys({}))).toContain(
      'because no session policy allows the kms:ListKeys action',
    );
    // As in AWS: what a key policy gives to the session by its own name is not bounded by it.
    expect(await outcome(narrow.kms.describeKey({ KeyId: own }))).toBe('ok');

    const denying = await session(any, { Effect: 'Deny', Action: 'kms:Encrypt', Resource: '*' });
    expect(await encrypt(denying.kms, own)).toContain('with an explicit deny in a session policy');
    expect(await outcome(denying.kms.describeKey({ KeyId: openKey }))).toBe('ok');

    // A session that is bounded assumes another only where its policy lets it, and does not get rid of the bound by signing otherwise.
    expect(await outcome(assume(narrow.credentials, 'second'))).toContain(
      'is not authorized to perform: sts:AssumeRole',
    );
    const { accessKeyId, secretAccessKey } = narrow.credentials;
    const { sessionToken } = wide.credentials;
    expect(await outcome(instance.kmsOf({ accessKeyId, secretAccessKey, sessionToken }).listKeys({}))).toContain(
      'UnrecognizedClientException',
    );
  });

  test('has sessions whose grants count, within their policy unless they name the session', async () => {
    const [toRole, toSession] = [await newKey(), await newKey()];
    const Operations = ['Decrypt' as const];
    await instance.root.createGrant({ KeyId: toRole, GranteePrincipal: roleArn('deploy'), Operations });
    await instance.root.createGrant({ KeyId: toSession, GranteePrincipal: sessionArn('deploy', 'work'), Operations });
    const decrypt = async (kms: KMS, KeyId: string): Promise<string> => {
      const { CiphertextBlob } = await instance.root.encrypt({ KeyId, Plaintext: Buffer.from('x') });
      return outcome(kms.decrypt({ KeyId, CiphertextBlob }));
    };
    const free = await assume(alice(), 'deploy');
    const bounded = await assume(alice(), 'deploy', {
      Policy: document({ Effect: 'Allow', Action: 'kms:Encrypt', Resource: '*' }),
    });
    expect([await decrypt(free.kms, toRole), await decrypt(free.kms, toSession)]).toEqual(['ok', 'ok']);
    expect(await decrypt(bounded.kms, toRole)).toContain('because no session policy allows the kms:Decrypt action');
    expect(await decrypt(bounded.kms, toSession)).toBe('ok');
  });

  test('is assumed by a session of another one for an hour at most', async () => {
    const first = await assume(alice(), 'deploy');
    expect(await outcome(assume(first.credentials, 'second', { DurationSeconds: 3601 }))).toBe(
      'ValidationError: The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.',
    );
    const second = await assume(first.credentials, 'second');
    expect(second.output.AssumedRoleUser?.Arn).toBe(sessionArn('second', 'work'));
    expect(await outcome(assume(alice(), 'second'))).toBe(denied('alice', 'sts:AssumeRole', 'second'));
    await use({ ...usual, deploy: { ...usual.deploy, trustPolicy: trust([user('alice'), user('bob')]) } });
    // The first of the chain is trusted otherwise by now: what was built on it has ended too.
    expect(await outcome(second.kms.listKeys({}))).toContain('UnrecognizedClientException');
    await use(usual);
  });

  test('keeps a source identity through its chain, which nobody changes', async () => {
    const first = await assume(alice(), 'tracked', { SourceIdentity: 'alice@example' });
    expect(first.output.SourceIdentity).toBe('alice@example');
    const second = await assume(first.credentials, 'tracked');
    expect(second.output.SourceIdentity).toBe('alice@example');
    expect(await outcome(assume(first.credentials, 'tracked', { SourceIdentity: 'eve' }))).toContain(
      'SourceIdentity cannot be changed',
    );
    const KeyId = await newKey({
      ...allow('*', 'kms:DescribeKey'),
      Condition: { StringEquals: { 'aws:SourceIdentity': 'alice@example' } },
    });
    expect(await outcome(second.kms.describeKey({ KeyId }))).toBe('ok');
    expect((await instance.events('DescribeKey')).at(-1)).toMatchObject({
      userIdentity: { sessionContext: { sourceIdentity: 'alice@example' } },
    });
  });

  test('is on record: who assumed it, what was decided, and whose sessions are whose', async () => {
    const Policy = document({ Effect: 'Allow', Action: '*', Resource: '*' });
    const { output, credentials, kms } = await assume(alice(), 'deploy', { Policy });
    await kms.listKeys({});
    await outcome(assume(people['bob'] as Credentials, 'deploy'));
    const [granted, refused] = (await instance.events('AssumeRole')).slice(-2);
    const resources = [{ accountId: '000000000000', type: 'AWS::IAM::Role', ARN: roleArn('deploy') }];
    expect(granted).toMatchObject({
      eventSource: 'sts.amazonaws.com',
      userIdentity: { type: 'IAMUser', arn: user('alice'), accessKeyId: alice().accessKeyId },
      requestParameters: { roleArn: roleArn('deploy'), roleSessionName: 'work', policy: Policy },
      responseElements: {
        credentials: {
          accessKeyId: credentials.accessKeyId,
          expiration: output.Credentials?.Expiration?.toISOString(),
        },
        assumedRoleUser: { arn: sessionArn('deploy', 'work') },
      },
      additionalEventData: { decision: { allowed: true, because: 'trust policy statement 0' } },
      resources,
    });
    expect(refused).toMatchObject({
      errorCode: 'AccessDeniedException',
      userIdentity: { arn: user('bob') },
      additionalEventData: { decision: { allowed: false, because: 'no statement of the trust policy allows' } },
      resources,
    });
    const [principalId = ''] = output.AssumedRoleUser?.AssumedRoleId?.split(':') ?? [];
    expect((await instance.events('ListKeys')).at(-1)).toMatchObject({
      userIdentity: {
        type: 'AssumedRole',
        principalId: `${principalId}:work`,
        arn: sessionArn('deploy', 'work'),
        accessKeyId: credentials.accessKeyId,
        sessionContext: {
          sessionIssuer: {
            type: 'Role',
            principalId,
            arn: roleArn('deploy'),
            accountId: '000000000000',
            userName: 'deploy',
          },
          attributes: { creationDate: expect.stringMatching(/Z$/), mfaAuthenticated: 'false' },
        },
      },
      additionalEventData: { roleSession: { assumedBy: user('alice'), hasPolicy: true } },
    });
    const all = JSON.stringify(await instance.events('AssumeRole'));
    expect(all).not.toContain(credentials.sessionToken);
    expect(all).not.toContain(credentials.secretAccessKey);
  });

  test('is among those that the status names', async () => {
    const { roles } = await instance.asRoot('GET', '/status');
    expect(roles).toContainEqual({ arn: roleArn('ci/delegated'), maxSessionSeconds: 3600 });
    expect(roles).toHaveLength(Object.keys(usual).length);
  });

  testRoleClients(() => ({ instance, alice: alice(), openKey }));

  test('has no sessions once the configuration has it no more, or trusts others, or their access key is revoked', async () => {
    const before = await assume(alice(), 'deploy');
    const invalid = expect.stringContaining('UnrecognizedClientException');
    expect(await outcome(before.kms.listKeys({}))).toBe('ok');
    const { deploy, ...others } = usual;
    await use(others);
    expect(await outcome(before.kms.listKeys({}))).toEqual(invalid);
    await use(usual);
    // Nothing is remembered: as it was before, so are its sessions.
    expect(await outcome(before.kms.listKeys({}))).toBe('ok');
    await use({ ...usual, deploy: { ...deploy, trustPolicy: trust([user('alice'), user('bob')]) } });
    expect(await outcome(before.kms.listKeys({}))).toEqual(invalid);
    await use(usual);

    await use({ ...usual, deploy: { ...deploy, trustPolicy: { Version: '2012-10-17', Statement: [] } } });
    expect(instance.problems).toEqual([
      expect.stringContaining('role `deploy`: Statement: it must have at least one statement.'),
    ]);
    expect(await outcome(before.kms.listKeys({}))).toBe('ok');
    await use({ ...usual, deploy: { ...deploy, maxSessionSeconds: 899 } });
    expect(instance.problems.join()).toContain(
      '`roles.deploy.maxSessionSeconds`: expected a whole number of seconds from 900 to 43200',
    );
    await use(usual);

    const carol = await instance.person('alice');
    const hers = await assume(carol, 'deploy');
    expect(await outcome(hers.kms.listKeys({}))).toBe('ok');
    await instance.asRoot('DELETE', `/access-keys/${carol.accessKeyId}`);
    expect(await outcome(hers.kms.listKeys({}))).toEqual(invalid);
    expect(await outcome(before.kms.listKeys({}))).toBe('ok');
  });
});
