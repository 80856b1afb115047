import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateKeyCommand, DecryptCommand, EncryptCommand } from '@aws-sdk/client-kms';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { readAuditEvents } from '../../src/audit/read-audit-log.ts';
import { awsRequest, parseAnswers, RawClient } from '../http/wire.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { program } from '../support/program.ts';
import { whyOnlyOwnUser } from '../support/readable-checkout.ts';

const onlyOwnUser = whyOnlyOwnUser();
if (onlyOwnUser !== null) process.stdout.write(`skipped: the status for another user: ${onlyOwnUser}\n`);

const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: the daemon's life: ${missing}\n`);

/** Several starts in one test take their time on two busy cores. */
const timeoutMs = 180_000;

const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
});

/** Runs `drawbridge serve` to its end. */
async function serve(configuration: string): Promise<{ code: number | null; said: string }> {
  const child = spawn(process.execPath, [program, 'serve', '--config', configuration], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  children.push(child);
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  const [code] = await once(child, 'close');
  // Without the log, whose lines are JSON.
  return {
    code,
    said: text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('{'))
      .join('\n'),
  };
}

/** The instance's configuration with something changed, in a file beside it. */
function changed({ dir }: Instance, change: (text: string) => string): string {
  const path = join(dir, 'changed.yaml');
  writeFileSync(path, change(readFileSync(join(dir, 'drawbridge.yaml'), 'utf8')));
  return path;
}

describe.skipIf(missing !== null)('a second daemon', () => {
  let instance: Instance;
  beforeAll(async () => {
    instance = await startInstance();
  });
  afterAll(() => instance?.stop());

  test('on the same data folder is refused before it touches the token, and the first goes on', async () => {
    const { code, said } = await serve(join(instance.dir, 'drawbridge.yaml'));
    expect(code).toBe(1);
    expect(said).toMatch(/^drawbridge: .*metadata\.db.*another/);
    await instance.sdkClient().send(new CreateKeyCommand({}));
  });

  test('on the same socket is refused, and the first goes on', { timeout: timeoutMs }, async () => {
    const other = await startInstance();
    await other.kill9();
    try {
      const socket = instance.socket;
      const { code, said } = await serve(changed(other, (text) => text.replace(/path: .*/, `path: ${socket}`)));
      expect(code).toBe(1);
      expect(said).toBe(`drawbridge: another daemon answers on \`${socket}\`; stop it or configure another path`);
      await instance.sdkClient().send(new CreateKeyCommand({}));
    } finally {
      await other.stop();
    }
  });
});

describe.skipIf(missing !== null)('a wrong PIN', () => {
  let instance: Instance | undefined;
  afterEach(async () => {
    await instance?.stop();
    instance = undefined;
  });

  test('ends the start with one sentence, and is not in it', { timeout: timeoutMs }, async () => {
    instance = await startInstance();
    await instance.kill9();
    const { dir } = instance;
    writeFileSync(join(dir, 'wrong-pin'), '99887766\n', { mode: 0o600 });
    const { code, said } = await serve(
      changed(instance, (text) => text.replace(/pin: .*/, 'pin: { file: wrong-pin }')),
    );
    expect(code).toBe(1);
    expect(said).toMatch(/^drawbridge: key store `default`: cannot open token `drawbridge-dev`: PIN refused/);
    expect(said).not.toContain('99887766');
  });
});

describe.skipIf(missing !== null)('SIGTERM', () => {
  let instance: Instance | undefined;
  afterEach(async () => {
    await instance?.stop();
    instance = undefined;
  });

  test('under load lets every accepted request finish, with all of them on record, and removes the socket', {
    timeout: timeoutMs,
  }, async () => {
    instance = await startInstance();
    const client = instance.sdkClient();
    const { KeyMetadata } = await client.send(new CreateKeyCommand({}));
    const KeyId = KeyMetadata?.KeyId ?? '';
    const acknowledged: Uint8Array[] = [];
    const failures: Error[] = [];
    const caller = async (): Promise<void> => {
      while (failures.length === 0) {
        try {
          const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId, Plaintext: Buffer.from('x') }));
          acknowledged.push(CiphertextBlob ?? new Uint8Array());
        } catch (error) {
          failures.push(error as Error);
        }
      }
    };
    const callers = Array.from({ length: 16 }, caller);
    await expect.poll(() => acknowledged.length).toBeGreaterThan(100);
    process.kill(instance.pid, 'SIGTERM');
    await Promise.all(callers);
    // What did not get through was refused by the kernel or cut between requests; nothing was answered with an error.
    for (const error of failures)
      expect((error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode).toBeUndefined();
    await expect.poll(() => existsSync(instance?.socket ?? '')).toBe(false);
    let recorded = 0;
    for await (const { eventName } of readAuditEvents(join(instance.dir, 'data', 'audit'))) {
      if (eventName === 'Encrypt') recorded++;
    }
    expect(recorded).toBeGreaterThanOrEqual(acknowledged.length);
    const again = await instance.restart();
    const CiphertextBlob = acknowledged.at(-1);
    await again.sdkClient().send(new DecryptCommand({ CiphertextBlob }));
    await again.stop();
  });

  test('twice ends the daemon at once, even while a request is still coming in', { timeout: timeoutMs }, async () => {
    instance = await startInstance();
    const { pid, socket } = instance;
    const half = new RawClient(socket).send(awsRequest('Encrypt', '{', { 'Content-Length': '100' }));
    await new RawClient(socket).send(awsRequest('ListKeys')).answer();
    process.kill(pid, 'SIGTERM');
    await expect.poll(() => existsSync(socket)).toBe(false);
    process.kill(pid, 'SIGTERM');
    expect(await instance.stop()).toBe(143);
    expect(parseAnswers(half.received)).toEqual([]);
    instance = undefined;
  });
});

describe.skipIf(missing !== null)('the daemon', () => {
  let instance: Instance;
  beforeAll(async () => {
    instance = await startInstance();
  });
  afterAll(() => instance?.stop());

  test('cannot be dumped or read by a debugger of its user', async () => {
    // An undumpable process's files in /proc are root's, whoever runs it; its core limit is 0.
    const limits = readFileSync(`/proc/${instance.pid}/limits`, 'utf8');
    expect(limits).toMatch(/Max core file size\s+0\s+0/);
  });

  test('is ready for whoever asks its health, and tells its status to root alone', async () => {
    const client = new RawClient(instance.socket).send('GET /status HTTP/1.1\r\nHost: kms\r\n\r\n');
    const status = JSON.parse((await client.answer()).body);
    client.socket.destroy();
    expect(status).toMatchObject({
      pid: instance.pid,
      keys: 0,
      keyStores: [{ name: 'default', state: 'connected', profile: 'softhsm2', token: { label: 'drawbridge-dev' } }],
    });
    expect(JSON.stringify(status)).not.toContain(readFileSync(join(instance.dir, 'pin'), 'utf8').trim());
  });

  test.skipIf(onlyOwnUser !== null)('refuses its status to another user, in words that name him', async () => {
    const script = `require('http').get({ socketPath: ${JSON.stringify(instance.socket)}, path: '/status' }, (answer) => answer.pipe(process.stdout))`;
    const child = spawn(process.execPath, ['-e', script], {
      uid: 65534,
      gid: 65534,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [text] = await once(child.stdout.setEncoding('utf8'), 'data');
    expect(JSON.parse(String(text))).toEqual({
      __type: 'AccessDeniedException',
      message:
        "User: arn:aws:iam::000000000000:user/unix/nobody is not authorized to perform: drawbridge:GetDaemonStatus because only the account's root is",
    });
  });
});
