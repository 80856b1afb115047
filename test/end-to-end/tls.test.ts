/** A daemon that listens over TLS: with files of `drawbridge tls create`, unmodified clients, and a certificate that is renewed. */

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, chmodSync, copyFileSync, readFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { DescribeKeyCommand, KMS } from '@aws-sdk/client-kms';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { program } from '../support/program.ts';
import { auditLines } from './support/audit-trail.ts';
import { AwsTools, missingAwsTools } from './support/aws-tools.ts';
import { bootTimeoutMs } from './support/daemon.ts';

const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: a daemon that listens over TLS: ${missing}\n`);

describe.skipIf(missing !== null)('a daemon that listens over TLS', () => {
  let instance: Instance;
  let endpoint: string;
  let authority: string;
  const inFolder = (...names: string[]): string => join(instance.dir, ...names);

  function drawbridge(...args: readonly string[]): Record<string, unknown> {
    return JSON.parse(execFileSync(process.execPath, [program, ...args, '--json'], { encoding: 'utf8' }));
  }

  beforeAll(async () => {
    instance = await startInstance();
    drawbridge('tls', 'create', '--out', inFolder('tls'));
    appendFileSync(
      inFolder('drawbridge.yaml'),
      `listen:
  tls: { address: "127.0.0.1:0", certificate: { file: tls/server.pem }, key: { file: tls/server.key } }
`,
    );
    await instance.kill9();
    instance = await instance.restart();
    endpoint = /"tlsEndpoint":"(https:[^"]*)"/.exec(instance.log())?.[1] ?? '';
    authority = readFileSync(inFolder('tls', 'authority.pem'), 'utf8');
  }, bootTimeoutMs);
  afterAll(() => instance?.stop(), bootTimeoutMs);

  async function handshake(): Promise<TLSSocket> {
    const { hostname: host, port } = new URL(endpoint);
    const socket = connect({ host, port: Number(port), ca: authority });
    await once(socket, 'secureConnect');
    return socket.setEncoding('latin1');
  }

  async function served(): Promise<string> {
    const socket = await handshake();
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  }

  test('serves the unmodified SDK, puts its requests on record, and says which certificate it shows', async () => {
    const { region, accessKeyId, secretAccessKey, socket } = instance;
    const kms = new KMS({
      region,
      endpoint,
      credentials: { accessKeyId, secretAccessKey },
      maxAttempts: 1,
      requestHandler: new NodeHttpHandler({ httpsAgent: new Agent({ ca: authority }) }),
    });
    const condition = { Bool: { 'aws:SecureTransport': 'true' }, StringEquals: { 'drawbridge:Transport': 'tls' } };
    const all = { Effect: 'Allow', Principal: { AWS: '*' }, Action: 'kms:*', Resource: '*' };
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement: [{ ...all, Condition: condition }] });
    const { KeyMetadata } = await kms.createKey({ Policy, BypassPolicyLockoutSafetyCheck: true });
    const KeyId = KeyMetadata?.KeyId ?? '';
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('attack at dawn') });
    const { Plaintext } = await kms.decrypt({ CiphertextBlob });
    expect(Buffer.from(Plaintext ?? []).toString()).toBe('attack at dawn');
    kms.destroy();
    await expect(instance.sdkClient().send(new DescribeKeyCommand({ KeyId }))).rejects.toThrow(/not authorized/);
    expect(auditLines(instance.dir)).toContainEqual(
      expect.objectContaining({
        eventName: 'Decrypt',
        sourceIPAddress: '127.0.0.1',
        tlsDetails: { tlsVersion: 'TLSv1.3', cipherSuite: 'TLS_AES_128_GCM_SHA256' },
      }),
    );
    expect(drawbridge('status', '--socket', socket)).toMatchObject({ tls: { endpoint, fingerprint: await served() } });
  });

  /** As the documentation has it. */
  const curlOptions = ['-H', 'Content-Type: application/x-amz-json-1.1', '-H', 'X-Amz-Target: TrentService.ListKeys'];

  test('serves curl, by the names that the certificate has', () => {
    const { accessKeyId, secretAccessKey } = instance;
    const { port } = new URL(endpoint);
    const user = ['--aws-sigv4', 'aws:amz:us-east-1:kms', '--user', `${accessKeyId}:${secretAccessKey}`];
    for (const host of ['127.0.0.1', 'localhost', 'kms.us-east-1.amazonaws.com']) {
      const to = ['--resolve', `${host}:${port}:127.0.0.1`, '--cacert', inFolder('tls', 'authority.pem')];
      const args = ['-sS', ...to, ...user, ...curlOptions, '-d', '{}', `https://${host}:${port}/`];
      expect(JSON.parse(execFileSync('curl', args, { encoding: 'utf8' }))).toMatchObject({ Truncated: false });
    }
  });

  test.skipIf(missingAwsTools.cli !== null || missingAwsTools.boto3 !== null)(
    'serves the AWS CLI and boto3 with `AWS_CA_BUNDLE`, and neither without it',
    async () => {
      const at = [instance.dir, instance.socket, endpoint] as const;
      const trusting = new AwsTools(...at, inFolder('tls', 'authority.pem'));
      expect(await trusting.cli(['kms', 'list-keys'])).toMatchObject({ exitCode: 0 });
      expect(
        await trusting.python('print(session.client("kms", endpoint_url=endpoint).list_keys()["Truncated"])'),
      ).toMatchObject({ stdout: 'False\n' });
      expect((await new AwsTools(...at).cli(['kms', 'list-keys'])).stderr).toMatch(/SSL validation failed/);
    },
  );

  test('shows a renewed certificate after SIGHUP, and keeps the connections that it has', async () => {
    const before = await handshake();
    const renewed = drawbridge('tls', 'create', '--out', inFolder('renewed'), '--authority', inFolder('tls'));
    for (const name of ['server.pem', 'server.key']) copyFileSync(inFolder('renewed', name), inFolder('tls', name));
    process.kill(instance.pid, 'SIGHUP');
    await expect.poll(served).toBe(renewed['Fingerprint']);
    before.write('GET /health HTTP/1.1\r\nHost: kms\r\n\r\n');
    expect(String(await once(before, 'data'))).toMatch(/^HTTP\/1.1 200/);
    before.destroy();
  });

  test(
    'goes on with its certificate when others can read the key that is there at SIGHUP, and does not start with it',
    async () => {
      const before = await served();
      chmodSync(inFolder('tls', 'server.key'), 0o644);
      process.kill(instance.pid, 'SIGHUP');
      await expect.poll(() => instance.log()).toMatch(/server.key. has mode 0644.*chmod 0600.*the former one stays/);
      expect(await served()).toBe(before);
      await instance.kill9();
      await expect(instance.restart()).rejects.toThrow(
        /server.key. has mode 0644, so others can get at what is secret in it/,
      );
      chmodSync(inFolder('tls', 'server.key'), 0o600);
      instance = await instance.restart();
    },
    bootTimeoutMs,
  );
});
