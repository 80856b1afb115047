import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateKeyCommand, DecryptCommand, EncryptCommand, KMSClient, ListKeysCommand } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDev } from '../../src/daemon/dev.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { program } from '../support/program.ts';

const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: dev mode: ${missing}\n`);

describe.skipIf(missing !== null)('drawbridge dev', () => {
  test.each([
    [
      'SIGTERM',
      '',
      [
        '--max-semi-space-size=4',
        '--heap-growing-percent=30',
        '--no-parallel-scavenge',
        '--no-allocation-site-pretenuring',
      ],
    ],
    ['SIGINT', '--max-semi-space-size=32', []],
  ] as const)(
    'prints one line of JSON, ends on %s, and leaves nothing behind; it takes little memory for garbage unless told otherwise (%j)',
    async (signal, chosen, options) => {
      const parent = mkdtempSync(join(tmpdir(), 'drawbridge-dev-test-'));
      try {
        const child = spawn(process.execPath, [program, 'dev'], {
          env: { ...process.env, TMPDIR: parent, NODE_OPTIONS: chosen },
          stdio: ['ignore', 'pipe', 'ignore'],
        });
        let output = '';
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          output += text;
        });
        await once(child.stdout, 'data');
        const line = JSON.parse(output);
        expect(Object.keys(line)).toEqual([
          'socket',
          'endpoint',
          'region',
          'account',
          'accessKeyId',
          'secretAccessKey',
          'dir',
        ]);
        expect(line).toMatchObject({ endpoint: null, region: 'us-east-1', account: '000000000000' });
        expect(line.dir.startsWith(parent)).toBe(true);
        expect(statSync(line.socket).mode & 0o777).toBe(0o666);
        const command = readFileSync(`/proc/${child.pid}/cmdline`, 'utf8').split('\0');
        expect(command.slice(1, command.indexOf(program))).toEqual(options);
        child.kill(signal);
        const [code] = await once(child, 'exit');
        expect(code).toBe(0);
        expect(output.split('\n')).toHaveLength(2);
        expect(readdirSync(parent)).toEqual([]);
      } finally {
        rmSync(parent, { recursive: true, force: true });
      }
    },
  );
});

if (process.getuid?.() !== 0) process.stdout.write('skipped: a folder of somebody else: not root\n');
test.skipIf(process.getuid?.() !== 0)(
  'drawbridge dev starts nothing from the configuration of another user',
  async () => {
    const dir = mkdtempSync(join(tmpdir(), 'drawbridge-dev-test-'));
    const configuration = join(dir, 'drawbridge.yaml');
    try {
      writeFileSync(configuration, 'version: 1\n');
      chownSync(configuration, 1, 1);
      await expect(startDev({ dir, environment: {} })).rejects.toThrow(
        `\`${configuration}\` is not safe to use: it belongs to uid 1, who can put something else there`,
      );
      // Whose folder it is could put his own file there after a look at root's.
      chownSync(configuration, 0, 0);
      chownSync(dir, 1, 1);
      await expect(startDev({ dir, environment: {} })).rejects.toThrow(
        `\`${dir}\` is not safe to use: it belongs to uid 1, who can put something else there`,
      );
      expect(readdirSync(dir)).toEqual(['drawbridge.yaml']);
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
);

for (const token of ['softhsm2', 'nss'] as const) {
  const lacking = missingForInstance(token);
  if (lacking !== null) process.stdout.write(`skipped: an instance over ${token}: ${lacking}\n`);
  describe.skipIf(lacking !== null)(`an instance over ${token}`, () => {
    test('has its keys again after kill -9, in the same folder and on the same socket', {
      timeout: 180_000,
    }, async () => {
      let instance = await startInstance({ token });
      try {
        const first = instance.sdkClient();
        const { KeyMetadata } = await first.send(new CreateKeyCommand({}));
        const Plaintext = Buffer.from('kept');
        const { CiphertextBlob } = await first.send(new EncryptCommand({ KeyId: KeyMetadata?.KeyId, Plaintext }));
        const { dir, socket } = instance;
        await instance.kill9();
        expect(existsSync(socket)).toBe(true);
        instance = await instance.restart();
        expect(instance).toMatchObject({ dir, socket });
        const answer = await instance.sdkClient().send(new DecryptCommand({ CiphertextBlob }));
        expect(answer.KeyId).toBe(KeyMetadata?.Arn);
        expect(Buffer.from(answer.Plaintext ?? []).toString()).toBe('kept');
      } finally {
        expect(await instance.stop()).toBe(0);
      }
    });
  });
}

describe.skipIf(missing !== null)('the loopback listener', () => {
  let instance: Instance;
  beforeAll(async () => {
    instance = await startInstance({ tcp: true });
  });
  afterAll(() => instance?.stop());

  test('serves the unmodified SDK with the access key that was printed', async () => {
    await expect(instance.sdkClient({ over: 'tcp' }).send(new ListKeysCommand({}))).resolves.toMatchObject({
      Keys: [],
    });
  });

  const refusals: [string, { accessKeyId?: string; secretAccessKey?: string }, string, string][] = [
    [
      'another secret',
      { secretAccessKey: 'other' },
      'InvalidSignatureException',
      'The request signature we calculated does not match the signature you provided.',
    ],
    [
      'another access key',
      { accessKeyId: 'AKIAIOSFODNN7EXAMPLE' },
      'UnrecognizedClientException',
      'The security token included in the request is invalid.',
    ],
  ];
  test.each(refusals)('refuses %s with 400', async (_name, other, name, message) => {
    const { accessKeyId, secretAccessKey, endpoint, region } = instance;
    const credentials = { accessKeyId, secretAccessKey, ...other };
    const client = new KMSClient({ region, endpoint: endpoint ?? '', credentials, maxAttempts: 1 });
    const error = await client.send(new ListKeysCommand({})).catch((refusal: unknown) => refusal);
    client.destroy();
    expect(error).toMatchObject({ name, $metadata: { httpStatusCode: 400 } });
    expect((error as Error).message.startsWith(message)).toBe(true);
  });

  test('refuses an unsigned request, and says nothing of the daemon but its health', async () => {
    const unsigned = await fetch(`${instance.endpoint}/v1/ListKeys`, { method: 'POST', body: '{}' });
    expect([unsigned.status, await unsigned.json()]).toEqual([
      400,
      { __type: 'MissingAuthenticationTokenException', message: 'Missing Authentication Token' },
    ]);
    expect((await fetch(`${instance.endpoint}/status`)).status).toBe(400);
    expect((await fetch(`${instance.endpoint}/health`)).status).toBe(200);
  });

  test('shows no secret in the log, whatever happened', () => {
    const pin = readFileSync(join(instance.dir, 'pin'), 'utf8').trim();
    const log = instance.log();
    expect(log).toContain('"msg":"ready"');
    for (const secret of [pin, instance.secretAccessKey]) expect(log).not.toContain(secret);
  });
});

describe.skipIf(missing !== null)('a signal during the start', () => {
  test('ends it as soon as it is there, with nothing left behind', async () => {
    const parent = mkdtempSync(join(tmpdir(), 'drawbridge-dev-test-'));
    try {
      const env = { ...process.env, TMPDIR: parent };
      const child = spawn(process.execPath, [program, 'dev'], { env, stdio: 'ignore' });
      await expect.poll(() => readdirSync(parent).length).toBe(1);
      child.kill('SIGTERM');
      expect(await once(child, 'exit')).toEqual([0, null]);
      expect(readdirSync(parent)).toEqual([]);
    } finally {
      rmSync(parent, { recursive: true, force: true });
    }
  });
});

describe.skipIf(missing !== null)('an instance that cannot be made', () => {
  test('leaves no token and no PIN behind, and can be made when the obstacle is gone', async () => {
    const parent = mkdtempSync(join(tmpdir(), 'drawbridge-dev-test-'));
    const dir = join(parent, 'kms');
    try {
      mkdirSync(join(dir, 'data'), { recursive: true, mode: 0o755 });
      await expect(startInstance({ dir })).rejects.toThrow(
        `\`${join(dir, 'data')}\` has mode 0755, so others can get at what is secret in it`,
      );
      expect(readdirSync(dir)).toEqual(['data']);
      chmodSync(join(dir, 'data'), 0o700);
      const instance = await startInstance({ dir });
      expect(await instance.stop()).toBe(0);
    } finally {
      rmSync(parent, { recursive: true, force: true });
    }
  });
});
