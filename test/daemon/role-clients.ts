/** Tests of `roles.test.ts`: other programs that assume roles, and who else is told of them. */

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { missingAwsTools } from '../end-to-end/support/aws-tools.ts';
import { runsAsRoot, sayIfNotRoot, unixUsers } from '../end-to-end/support/unix-users.ts';
import { program } from '../support/program.ts';
import { allow, document, roleArn, sessionArn, user } from './assume-role-answers.ts';
import { type Credentials, outcome, type RoleInstance } from './role-instance.ts';

const run = promisify(execFile);

/** @param of What there is when a test runs. */
export function testRoleClients(
  of: () => { readonly instance: RoleInstance; readonly alice: Credentials; readonly openKey: string },
): void {
  test('is assumed by the AWS SDK for JavaScript, which is told nothing but a profile', async () => {
    const { accessKeyId, secretAccessKey } = of().alice;
    const configFile = join(mkdtempSync(join(tmpdir(), 'drawbridge-profile-')), 'config');
    writeFileSync(
      configFile,
      `[profile alice]
aws_access_key_id = ${accessKeyId}
aws_secret_access_key = ${secretAccessKey}

[profile deploy]
region = us-east-1
endpoint_url = ${of().instance.endpoint}
role_arn = ${roleArn('deploy')}
role_session_name = nightly
source_profile = alice
`,
    );
    const script = `
      const { KMSClient, ListKeysCommand } = await import('@aws-sdk/client-kms');
      process.stdout.write(String((await new KMSClient({}).send(new ListKeysCommand({ Limit: 1 }))).Keys.length));`;
    const { AWS_ACCESS_KEY_ID: _, ...environment } = process.env;
    const env = {
      ...environment,
      AWS_CONFIG_FILE: configFile,
      AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
      AWS_PROFILE: 'deploy',
    };
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { env });
    rmSync(dirname(configFile), { recursive: true });
    expect(stdout).toBe('1');
    expect((await of().instance.events('ListKeys')).at(-1)).toMatchObject({
      userIdentity: { arn: sessionArn('deploy', 'nightly') },
    });
  });

  test.skipIf(missingAwsTools.cli !== null)('is assumed by the AWS CLI', async () => {
    const { accessKeyId, secretAccessKey } = of().alice;
    const env = {
      PATH: '/usr/bin:/bin',
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_DEFAULT_REGION: 'us-east-1',
    };
    const args = [
      '--endpoint-url',
      of().instance.endpoint,
      'sts',
      'assume-role',
      '--role-session-name',
      'cli',
      '--duration-seconds',
      '900',
    ];
    const { stdout } = await run('/usr/bin/aws', [...args, '--role-arn', roleArn('deploy')], { env });
    const { Credentials, AssumedRoleUser } = JSON.parse(stdout) as Record<string, Record<string, string>>;
    expect(AssumedRoleUser?.['Arn']).toBe(sessionArn('deploy', 'cli'));
    expect(Date.parse(Credentials?.['Expiration'] ?? '') - Date.now()).toBeLessThanOrEqual(900_000);
  });

  test.skipIf(!runsAsRoot)('is assumed over the Unix socket by whom the kernel vouches for', async () => {
    sayIfNotRoot('roles of Unix users');
    const asked = { RoleArn: roleArn('unix'), RoleSessionName: 'nightly', DurationSeconds: 900 };
    const answerTo = async (members: object): Promise<Record<string, string>> => {
      const request = ['--silent', 'http://kms/credentials/role', '--data', JSON.stringify(members)];
      const { uid, gid } = unixUsers.daemon;
      const { stdout } = await run('curl', ['--unix-socket', of().instance.socketPath, ...request], { uid, gid });
      return JSON.parse(stdout) as Record<string, string>;
    };
    const made = await answerTo(asked);
    const credentials = {
      accessKeyId: made['AccessKeyId'] ?? '',
      secretAccessKey: made['SecretAccessKey'] ?? '',
      sessionToken: made['SessionToken'] ?? '',
    };
    const KeyId = await of().instance.newKey({
      ...allow(roleArn('unix'), 'kms:DescribeKey'),
      Condition: { StringEquals: { 'drawbridge:UnixUser': 'daemon' } },
    });
    expect(await outcome(of().instance.kmsOf(credentials).describeKey({ KeyId }))).toBe('ok');
    expect((await of().instance.events('DescribeKey')).at(-1)).toMatchObject({
      userIdentity: { arn: sessionArn('unix', 'nightly') },
      additionalEventData: {
        credentialsIssuedTo: { uid: unixUsers.daemon.uid },
        roleSession: { assumedBy: user('unix/daemon') },
      },
    });
    // Only here: what is signed speaks STS.
    expect(await answerTo({ ...asked, RoleArn: roleArn('deploy') })).toMatchObject({ __type: 'AccessDeniedException' });
    expect(await answerTo({ ...asked, Tags: [] })).toEqual({
      __type: 'ValidationException',
      message: 'Tags must be a text or a number.',
    });
    const cli = run(process.execPath, [
      program,
      'credentials',
      '--role',
      roleArn('unix'),
      '--socket',
      of().instance.socketPath,
    ]);
    await expect(cli).rejects.toMatchObject({
      stdout: '',
      stderr: expect.stringContaining('AccessDeniedException: Roles may not be assumed by root accounts.'),
    });
  });

  test('is explained: what its sessions may do, with a policy of their own and without', async () => {
    const explain = async (more: object = {}) => {
      const asked = {
        Operation: 'DescribeKey',
        Request: { KeyId: of().openKey },
        Principal: roleArn('deploy'),
        ...more,
      };
      const { allowed, explanations } = (await of().instance.asRoot(
        'POST',
        '/access/explain',
        JSON.stringify(asked),
      )) as {
        allowed?: unknown;
        explanations?: unknown;
      };
      return { allowed, explanation: (explanations as { decision: object; remedies: object[] }[])[0] };
    };
    expect(await explain()).toMatchObject({ allowed: true, explanation: { decision: { by: 'key policy' } } });
    const SessionPolicy = document({ Effect: 'Allow', Action: 'kms:Encrypt', Resource: '*' });
    const bounded = await explain({ SessionPolicy });
    expect(bounded).toMatchObject({
      allowed: false,
      explanation: {
        decision: { by: 'not in session policy', because: 'no statement of the session policy allows' },
        remedies: [{ kind: 'assume the role with another session policy' }],
      },
    });
    expect(await explain({ Principal: sessionArn('deploy', 'x') })).toMatchObject({ allowed: true });
  });
}
