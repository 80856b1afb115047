/** A PIN that the token refuses while the daemon runs: tried once, and again only when an operator says so. */

import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { auditLines } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs } from './support/daemon.ts';
import { refusal } from './support/refusals.ts';
import { send } from './support/wire.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: A PIN that the token refuses: ${missing}\n`);

describe.skipIf(missing !== null)('A PIN that the token refuses', () => {
  let instance: Instance;
  beforeAll(async () => {
    instance = await startInstance();
  }, bootTimeoutMs);
  afterAll(() => instance?.stop(), bootTimeoutMs);

  const keyStore = async () => {
    const { body } = await send(instance.socket, { method: 'GET', path: '/status' });
    const [first] = (JSON.parse(body) as { keyStores: { state: string; pids: number[] }[] }).keyStores;
    if (first === undefined) throw new Error('there is a key store');
    return first;
  };
  const reconnect = async (name = 'default') => {
    const { status, body } = await send(instance.socket, { path: `/key-stores/${name}/reconnect` });
    return { status, body: JSON.parse(body) as Record<string, string> };
  };

  const drawbridge = async (...args: readonly string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)(process.execPath, [main, ...args, '--socket', instance.socket]);
    return stdout;
  };

  test('is not tried again until an operator asks, and then once each time', async () => {
    const kms = kmsOver(instance.socket);
    const pinFile = join(instance.dir, 'pin');
    const pin = readFileSync(pinFile);
    try {
      writeFileSync(pinFile, 'not-the-pin\n');
      const hosts = (await keyStore()).pids;
      expect(hosts).not.toEqual([]);
      for (const host of hosts) process.kill(host, 'SIGKILL'); // One that is connected would serve on.
      await expect.poll(async () => (await keyStore()).state).toBe('pinRefused');
      expect((await refusal(kms.generateRandom({ NumberOfBytes: 8 }))).name).toBe('KMSInternalException');

      const again = await reconnect();
      expect(again.status).toBe(500);
      expect(again.body['__type']).toBe('KeyUnavailableException');
      expect(again.body['message']).toContain('PIN refused');
      expect((await keyStore()).state).toBe('pinRefused');

      writeFileSync(pinFile, pin);
      const [, command] = /when it is in order: drawbridge (.+)$/m.exec(await drawbridge('status')) ?? [];
      expect(command).toBe('reconnect default');
      expect(await drawbridge('reconnect', 'default')).toContain('is connected');
      expect((await kms.generateRandom({ NumberOfBytes: 8 })).Plaintext).toHaveLength(8);
    } finally {
      writeFileSync(pinFile, pin);
      kms.destroy();
    }
    const acts = auditLines(instance.dir).filter(({ eventName }) => eventName === 'ReconnectKeyStore');
    expect(acts.map(({ errorCode }) => errorCode ?? 'done')).toEqual(['KeyUnavailableException', 'done']);
  });

  test('a key store that is not there cannot be reconnected', async () => {
    expect(await reconnect('other')).toEqual({
      status: 400,
      body: { __type: 'NotFoundException', message: 'There is no key store `other` in the configuration.' },
    });
  });

  test('a member that is not there cannot be reconnected, and is named', async () => {
    expect(await reconnect('default/members/third')).toEqual({
      status: 400,
      body: {
        __type: 'NotFoundException',
        message: 'The key store `default` has no member `third`; `drawbridge status` shows those that there are.',
      },
    });
  });
});
