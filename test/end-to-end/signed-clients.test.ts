/**
 * Unmodified AWS clients over the loopback listener: the SDK for JavaScript with an access key, the AWS CLI and boto3 with
 * nothing but a `credential_process`.
 */

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KMS, KMSClient, KMSServiceException, ListKeysCommand } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { program } from '../support/program.ts';
import { auditLines } from './support/audit-trail.ts';
import { AwsTools, missingAwsTools } from './support/aws-tools.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs } from './support/daemon.ts';
import { runsAsRoot, sayIfNotRoot, type UnixUser, unixUsers } from './support/unix-users.ts';

const root = 'arn:aws:iam::000000000000:root';
const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: signed requests of unmodified clients: ${missing}\n`);
for (const reason of Object.values(missingAwsTools)) {
  if (reason !== null) process.stdout.write(`skipped: some signed requests of unmodified clients: ${reason}\n`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A server that listens on TCP has an address with a port.
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe.skipIf(missing !== null)('an unmodified client', () => {
  let instance: Instance;
  let folder: string;
  let tools: AwsTools;
  beforeAll(async () => {
    instance = await startInstance({ tcp: true });
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-aws-'));
    tools = new AwsTools(folder, instance.socket, instance.endpoint ?? '');
  }, bootTimeoutMs);
  afterAll(async () => {
    await instance?.stop();
    // The second start did not make the instance's folder, and so leaves it.
    if (instance !== undefined) rmSync(join(instance.dir, '..'), { recursive: true, force: true });
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }, bootTimeoutMs);

  function drawbridge(...args: readonly string[]): Record<string, string> {
    const text = execFileSync(process.execPath, [program, ...args, '--socket', instance.socket], { encoding: 'utf8' });
    return text === '' ? {} : (JSON.parse(text) as Record<string, string>);
  }

  async function listKeys(credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string }) {
    const client = new KMSClient({
      region: instance.region,
      endpoint: instance.endpoint ?? '',
      credentials,
      maxAttempts: 1,
    });
    try {
      await client.send(new ListKeysCommand({}));
      return 'answered';
    } catch (error) {
      if (!(error instanceof KMSServiceException)) throw error;
      return `${error.name}: ${error.message}`;
    } finally {
      client.destroy();
    }
  }

  const invalidToken = 'UnrecognizedClientException: The security token included in the request is invalid.';

  test('uses an access key from the moment that it is made until it is revoked, also after a kill', {
    timeout: bootTimeoutMs * 2,
  }, async () => {
    const { AccessKeyId, SecretAccessKey } = drawbridge('access-keys', 'create', '--principal', root, '--json');
    const credentials = { accessKeyId: AccessKeyId ?? '', secretAccessKey: SecretAccessKey ?? '' };
    expect(await listKeys(credentials)).toBe('answered');
    await instance.kill9();
    // From here on the listener is where the configuration says.
    const port = await freePort();
    appendFileSync(join(instance.dir, 'drawbridge.yaml'), `\nlisten:\n  tcp: 127.0.0.1:${port}\n`);
    instance = await startInstance({ dir: instance.dir });
    expect(instance.endpoint).toBe(`http://127.0.0.1:${port}`);
    tools = new AwsTools(folder, instance.socket, instance.endpoint ?? '');
    expect(await listKeys(credentials)).toBe('answered');
    expect(await listKeys({ ...credentials, sessionToken: 'x' })).toBe(invalidToken);
    drawbridge('access-keys', 'revoke', credentials.accessKeyId);
    expect(await listKeys(credentials)).toBe(invalidToken);
    expect(instance.log()).not.toContain(credentials.secretAccessKey);
  });

  test('that signs for somebody else is somebody else, whom no policy lets in', async () => {
    const principal = 'arn:aws:iam::000000000000:user/app';
    const { AccessKeyId, SecretAccessKey } = drawbridge('access-keys', 'create', '--principal', principal, '--json');
    expect(await listKeys({ accessKeyId: AccessKeyId ?? '', secretAccessKey: SecretAccessKey ?? '' })).toBe(
      `AccessDeniedException: User: ${principal} is not authorized to perform: kms:ListKeys on resource: * because no identity-based policy allows the kms:ListKeys action`,
    );
  });

  test('uses short-lived credentials, none of their parts with another one, and leaves no secret on record', async () => {
    const [one, other] = [drawbridge('credentials'), drawbridge('credentials')];
    const of = (id: typeof one, secret: typeof one, token: typeof one) => ({
      accessKeyId: id['AccessKeyId'] ?? '',
      secretAccessKey: secret['SecretAccessKey'] ?? '',
      sessionToken: token['SessionToken'] ?? '',
    });
    expect(await listKeys(of(one, other, one))).toMatch(
      /^InvalidSignatureException: The request signature we calculated/,
    );
    expect(await listKeys(of(other, one, one))).toBe(invalidToken);
    expect(await listKeys(of(one, one, other))).toBe(invalidToken);
    expect(await listKeys(of(one, one, one))).toBe('answered');

    const events = auditLines(instance.dir);
    const issuing = events.find(({ responseElements }) =>
      JSON.stringify(responseElements)?.includes(String(one['AccessKeyId'])),
    );
    expect(issuing).toMatchObject({
      eventSource: 'sts.amazonaws.com',
      eventName: 'IssueCredentials',
      userIdentity: { type: 'Root', arn: root },
      sourceIPAddress: 'unix',
      responseElements: { accessKeyId: one['AccessKeyId'], expiration: one['Expiration'] },
    });
    expect(events.at(-1)).toMatchObject({
      eventName: 'ListKeys',
      sourceIPAddress: '127.0.0.1',
      userIdentity: { accessKeyId: one['AccessKeyId'], arn: root },
    });
    expect(JSON.stringify(events)).not.toContain(one['SecretAccessKey']);
    expect(JSON.stringify(events)).not.toContain(one['SessionToken']);
  });

  test('whoever asks STS without a signature is on record as asking STS', async () => {
    const answer = await fetch(`${instance.endpoint}/?Action=GetCallerIdentity&Version=2011-06-15`);
    expect([answer.status, await answer.text()]).toEqual([403, expect.stringContaining('MissingAuthenticationToken<')]);
    expect(auditLines(instance.dir).at(-1)).toMatchObject({
      eventSource: 'sts.amazonaws.com',
      eventName: 'GetCallerIdentity',
      errorCode: 'MissingAuthenticationTokenException',
      userIdentity: { type: 'Unknown' },
    });
  });

  describe.skipIf(!runsAsRoot)('of another Unix user', () => {
    sayIfNotRoot('credentials of other Unix users');

    /** What the daemon answers to a user whom the kernel vouches for. */
    function asUser({ uid, gid }: UnixUser, method: string, path: string, body = ''): Record<string, string> {
      const request = ['--silent', '--request', method, `http://kms${path}`, '--data', body];
      const text = execFileSync('curl', ['--unix-socket', instance.socket, ...request], { uid, gid, encoding: 'utf8' });
      return JSON.parse(text) as Record<string, string>;
    }

    test('has that user’s identity on the loopback listener, and that key policy’s permissions', async () => {
      const arn = 'arn:aws:iam::000000000000:user/unix/daemon';
      const issued = asUser(unixUsers.daemon, 'POST', '/credentials', '{"DurationSeconds":900}');
      const credentials = {
        accessKeyId: issued['AccessKeyId'] ?? '',
        secretAccessKey: issued['SecretAccessKey'] ?? '',
        sessionToken: issued['SessionToken'] ?? '',
      };
      expect(Date.parse(issued['Expiration'] ?? '') - Date.now()).toBeLessThanOrEqual(900_000);
      expect(await listKeys(credentials)).toContain(`AccessDeniedException: User: ${arn} is not authorized`);

      const kms = kmsOver(instance.socket);
      const allow = (AWS: string, Action: string) => ({ Effect: 'Allow', Principal: { AWS }, Action, Resource: '*' });
      const Statement = [allow(root, 'kms:*'), allow(arn, 'kms:GenerateDataKey')];
      const Policy = JSON.stringify({ Version: '2012-10-17', Statement });
      const { KeyMetadata } = await kms.createKey({ Policy });
      kms.destroy();
      const endpoint = instance.endpoint ?? '';
      const client = new KMS({ region: instance.region, endpoint, credentials, maxAttempts: 1 });
      const KeyId = KeyMetadata?.KeyId;
      expect((await client.generateDataKey({ KeyId, KeySpec: 'AES_256' })).Plaintext).toHaveLength(32);
      await expect(client.encrypt({ KeyId, Plaintext: Buffer.from('x') })).rejects.toMatchObject({
        name: 'AccessDeniedException',
        message: expect.stringContaining(`User: ${arn} is not authorized to perform: kms:Encrypt`),
      });
      client.destroy();
    });

    test.each([
      ['POST', '/access-keys', 'CreateAccessKey'],
      ['GET', '/access-keys', 'ListAccessKeys'],
      ['DELETE', '/access-keys/AKIAIOSFODNN7EXAMPLE', 'DeleteAccessKey'],
      ['GET', '/upkeep', 'ListUpkeep'],
      ['POST', '/upkeep/confirm', 'ConfirmUpkeep'],
    ])('cannot use %s %s', (method, path, operation) => {
      const body = JSON.stringify({ Principal: root });
      expect(asUser(unixUsers.daemon, method, path, body)).toEqual({
        __type: 'AccessDeniedException',
        message: `User: arn:aws:iam::000000000000:user/unix/daemon is not authorized to perform: drawbridge:${operation} because only the account's root is`,
      });
    });
  });

  describe.skipIf(missingAwsTools.cli !== null)('which is the AWS CLI', () => {
    test('has the identity of its Unix user, with no secret on disk', { timeout: bootTimeoutMs * 2 }, async () => {
      const { stdout, stderr } = await tools.cli(['sts', 'get-caller-identity']);
      expect(stderr).toBe('');
      expect(JSON.parse(stdout)).toEqual({ UserId: '000000000000', Account: '000000000000', Arn: root });
    });

    test('encrypts what another client decrypts', { timeout: bootTimeoutMs * 2 }, async () => {
      const kms = kmsOver(instance.socket);
      const { KeyMetadata } = await kms.createKey({});
      const EncryptionContext = { Ünï: '☂', 'a b': 'c/d+e' };
      const { stdout, stderr } = await tools.cli([
        ...['kms', 'encrypt', '--key-id', KeyMetadata?.KeyId ?? ''],
        ...['--plaintext', Buffer.from('attack at dawn').toString('base64')],
        ...['--encryption-context', JSON.stringify(EncryptionContext)],
        ...['--query', 'CiphertextBlob', '--output', 'text'],
      ]);
      expect(stderr).toBe('');
      const CiphertextBlob = Buffer.from(stdout, 'base64');
      const { Plaintext } = await kms.decrypt({ CiphertextBlob, EncryptionContext });
      kms.destroy();
      expect(Buffer.from(Plaintext ?? []).toString()).toBe('attack at dawn');
    });

    test('understands why it is refused', { timeout: bootTimeoutMs * 2 }, async () => {
      const { exitCode, stderr } = await tools.cliWith('AKIAIOSFODNN7EXAMPLE', ['sts', 'get-caller-identity']);
      expect({ exitCode, stderr: stderr.trim() }).toEqual({
        exitCode: 254,
        stderr:
          'An error occurred (InvalidClientTokenId) when calling the GetCallerIdentity operation: The security token included in the request is invalid.',
      });
    });
  });

  test.skipIf(missingAwsTools.boto3 !== null)(
    'which is boto3 works, also when it makes the same request many times within a second',
    { timeout: bootTimeoutMs * 2 },
    async () => {
      const { stdout, stderr } = await tools.python(`
kms = session.client('kms', endpoint_url=endpoint)
key = kms.create_key(Description='of boto3')['KeyMetadata']['KeyId']
blob = kms.encrypt(KeyId=key, Plaintext=b'attack at dawn', EncryptionContext={'a b': 'c/d+e'})['CiphertextBlob']
same = {kms.decrypt(CiphertextBlob=blob, EncryptionContext={'a b': 'c/d+e'})['Plaintext'] for _ in range(50)}
random = {kms.generate_random(NumberOfBytes=32)['Plaintext'] for _ in range(50)}
sts = session.client('sts', endpoint_url=endpoint)
import urllib.request
url = sts.generate_presigned_url('get_caller_identity', HttpMethod='GET')
presigned = urllib.request.urlopen(url).read().decode()
try:
    kms.describe_key(KeyId='alias/none')
except kms.exceptions.NotFoundException as error:
    refused = error.response['Error']
print(json.dumps({'same': [plaintext.decode() for plaintext in same], 'random': len(random), 'refused': refused['Code'],
                  'arn': sts.get_caller_identity()['Arn'], 'presigned': presigned.count('${root}')}))
`);
      expect(stderr).toBe('');
      expect(JSON.parse(stdout)).toEqual({
        same: ['attack at dawn'],
        random: 50,
        refused: 'NotFoundException',
        arn: root,
        presigned: 1,
      });
    },
  );
});
