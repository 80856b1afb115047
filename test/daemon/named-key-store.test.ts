/** A daemon whose key store has a name of its operator's choice: nothing knows of another one. */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateKeyCommand, DecryptCommand, EncryptCommand } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { program } from '../support/program.ts';

const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: a key store with a name of its own: ${missing}\n`);

describe.skipIf(missing !== null)('a daemon whose key store is called vault', () => {
  let dir: string;
  let instance: Instance;

  /** What the command line prints, and its exit code. */
  function run(...words: string[]): { said: string; complained: string; code: number | null } {
    const { DRAWBRIDGE_SOCKET: _, ...env } = process.env;
    const child = spawnSync(process.execPath, [program, ...words], { env, encoding: 'utf8' });
    return { said: child.stdout, complained: child.stderr, code: child.status };
  }
  const asked = (...words: string[]) => run(...words, '--socket', instance.socket);
  const configurationFile = (): string => join(dir, 'drawbridge.yaml');
  const rename = (from: string, to: string): void =>
    writeFileSync(
      configurationFile(),
      readFileSync(configurationFile(), 'utf8').replace(`\n  ${from}:\n`, `\n  ${to}:\n`),
    );

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'drawbridge-vault-'));
    const places = ['--config', configurationFile(), '--dir', dir, '--socket', join(dir, 'kms.sock')];
    execFileSync(process.execPath, [program, 'init', '--token', 'softhsm2', ...places], { stdio: 'pipe' });
    rename('default', 'vault');
    instance = await startInstance({ dir });
  });
  afterAll(async () => {
    await instance?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test('makes keys in it, and uses them after a restart', { timeout: 170_000 }, async () => {
    const { KeyMetadata } = await instance.sdkClient().send(new CreateKeyCommand({}));
    const KeyId = KeyMetadata?.KeyId;
    const { CiphertextBlob } = await instance
      .sdkClient()
      .send(new EncryptCommand({ KeyId, Plaintext: Buffer.from('x') }));
    await instance.kill9();
    instance = await instance.restart();
    const { Plaintext } = await instance.sdkClient().send(new DecryptCommand({ CiphertextBlob }));
    expect(Buffer.from(Plaintext ?? []).toString()).toBe('x');
    expect(asked('keys', 'show', String(KeyId)).said).toMatch(/vault/);
  });

  test('tells its name in the status', () => {
    const { said } = asked('status', '--json');
    expect(JSON.parse(said)).toMatchObject({
      region: 'us-east-1',
      socket: instance.socket,
      regions: [{ region: 'us-east-1', socket: instance.socket, keyStores: ['vault'] }],
      keyStores: [{ name: 'vault', state: 'connected' }],
    });
    expect(asked('status').said).toMatch(/^key store +vault$/m);
  });

  test('reconnects it by its name and without one, and knows no other', () => {
    for (const words of [['reconnect'], ['reconnect', 'vault']]) {
      expect(asked(...words)).toMatchObject({ said: 'the key store `vault` is connected\n', code: 0 });
    }
    const { complained, code } = asked('reconnect', 'default');
    expect(complained).toContain('There is no key store `default` in the configuration.');
    expect(code).toBe(1);
  });

  test('refuses to start where somebody gives another name to a key store that has keys', {
    timeout: 170_000,
  }, async () => {
    await instance.sdkClient().send(new CreateKeyCommand({}));
    await instance.kill9();
    rename('vault', 'default');
    const { complained, code } = run('serve', '--config', configurationFile());
    expect(complained).toContain(
      'the metadata has keys in the key store `vault`, and the configuration names `default`; a key store that has keys keeps its name',
    );
    expect(code).toBe(1);
    rename('default', 'vault');
    instance = await instance.restart();
  });

  test('is examined under its name', { timeout: 170_000 }, () => {
    const { said, code } = run('doctor', '--config', configurationFile(), '--json');
    expect(code).toBe(0);
    expect(JSON.parse(said)).toMatchObject({
      healthy: true,
      checks: [
        { check: 'configuration' },
        { check: 'paths' },
        { check: 'data folder' },
        { check: 'PIN is private', keyStore: 'vault' },
        { check: 'library', keyStore: 'vault' },
        { check: 'token', keyStore: 'vault' },
        { check: 'keys', keyStore: 'vault' },
      ],
    });
    const { keyStores } = JSON.parse(said) as {
      keyStores: { serviceKeys: { purpose: string; backingKeyId: string }[] }[];
    };
    const [serviceKeys = []] = keyStores.map((each) => each.serviceKeys);
    expect(serviceKeys.map(({ purpose }) => purpose)).toEqual([
      'access-key-encryption',
      'metadata-integrity',
      'session-credentials',
    ]);
    const { said: text } = run('doctor', '--config', configurationFile());
    expect(text).toMatch(/^token \(vault\) +ok/m);
    for (const { purpose, backingKeyId } of serviceKeys)
      expect(text).toMatch(new RegExp(`^${purpose} +${backingKeyId}$`, 'm'));
    const asked = run('doctor', '--socket', instance.socket, '--json').said;
    const running = JSON.parse(asked) as { keyStores: typeof keyStores };
    expect(new Set(running.keyStores[0]?.serviceKeys)).toEqual(new Set(serviceKeys));
  });
});
