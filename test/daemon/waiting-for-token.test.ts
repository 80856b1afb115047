/** A token that is not there when the daemon starts, as an HSM behind a network that comes up later. */

import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { readAuditEvents } from '../../src/audit/read-audit-log.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { createInstance } from '../../src/daemon/new-instance.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { initializeToken } from '../../src/hsm/token-initialization.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { heard, refusal } from '../end-to-end/support/refusals.ts';
import { send } from '../end-to-end/support/wire.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { drawbridge, refusedCommand } from './domain-commands.ts';

const { missing } = softHsm2;
if (missing !== null) process.stdout.write(`skipped: a token that is not there at the start: ${missing}\n`);

const silent = () => undefined;
const log = { debug: silent, info: silent, warn: silent, error: silent };
const retryable = 'The request was rejected because the key store is not connected yet. The request can be retried.';

describe.skipIf(missing !== null)('A token that is not there at the start', () => {
  let token: TestToken;
  let folder: string;
  let configurationFile: string;
  let socket: string;
  let keyId: string;
  let daemon: Daemon | undefined;
  let kms: KMS;

  beforeAll(async () => {
    token = softHsm2.create();
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-waiting-'));
    configurationFile = join(folder, 'drawbridge.yaml');
    socket = join(folder, 'kms.sock');
    const pinFile = join(folder, 'pin');
    writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
    const { profile, library, label, environment } = token;
    const keyStore = await createInstance(
      configurationFile,
      {
        region: 'us-east-1',
        account: '000000000000',
        dataDir: join(folder, 'data'),
        socket: { path: socket, mode: '0600' },
        root: [process.getuid?.() ?? 0],
        keyStore: { profile, library, token: { label }, pinFile, environment },
      },
      {},
      log,
    );
    await keyStore.close();
    await start(false);
    keyId = (await kms.createKey({})).KeyMetadata?.KeyId ?? '';
    await stop();
  });
  afterAll(() => {
    token?.remove();
    if (folder !== undefined) rmSync(folder, { recursive: true });
  });
  beforeEach(() => hide());
  afterEach(async () => {
    await stop();
    show();
  });

  const tokens = (): string => join(token.folder, 'tokens');
  const hidden = (): string => join(token.folder, 'hidden');
  let isHidden = false;
  function hide(): void {
    renameSync(tokens(), hidden());
    isHidden = true;
  }
  function show(): void {
    if (isHidden) renameSync(hidden(), tokens());
    isHidden = false;
  }

  async function start(waitForTokens: boolean, openKeyStores: readonly KeyStore[] = []): Promise<Daemon> {
    const configuration = await loadConfiguration(configurationFile);
    daemon = await startDaemon({ configuration, environment: {}, log, waitForTokens, openKeyStores });
    kms = kmsOver(socket);
    return daemon;
  }

  async function stop(): Promise<void> {
    kms?.destroy();
    await daemon?.stop();
    daemon = undefined;
  }

  const ask = async (path: string) => {
    const { status, body } = await send(socket, { method: 'GET', path });
    return { status, body: JSON.parse(body) as Record<string, unknown> };
  };

  test('is waited for: nobody is authorized, everything is refused as retryable and on record, and then all is served', async () => {
    const { waitsFor, serving } = await start(true);
    expect(waitsFor()).toMatch(/key store `default`: cannot open token `test-/);
    for (const request of heard([
      kms.encrypt({ KeyId: keyId, Plaintext: Buffer.from('x') }),
      kms.listKeys({}),
      kms.createKey({}),
    ]))
      expect(await refusal(request)).toMatchObject({ name: 'KMSInternalException', message: retryable });
    for (const path of ['/access-keys', '/upkeep'])
      expect(await ask(path)).toEqual({ status: 500, body: { __type: 'KMSInternalException', message: retryable } });
    const message = `${retryable} (key store default is reconnecting)`;
    expect(await ask(`/status/keys/${keyId}`)).toEqual({
      status: 500,
      body: { __type: 'KMSInternalException', message },
    });

    expect(await ask('/health')).toEqual({
      status: 503,
      body: { status: 'unavailable', reason: 'key store default is reconnecting' },
    });
    const { status, body } = await ask('/status');
    expect(status).toBe(200);
    expect(body).toMatchObject({
      waitsFor: waitsFor(),
      keyStores: [{ name: 'default', state: 'reconnecting', hosts: 0 }],
    });

    show();
    await serving;
    expect(waitsFor()).toBeNull();
    expect((await ask('/health')).status).toBe(200);
    expect((await ask('/status')).body).toMatchObject({ keys: 1, keyStores: [{ state: 'connected' }] });
    await kms.encrypt({ KeyId: keyId, Plaintext: Buffer.from('x') });
    await stop();

    const recorded: string[] = [];
    for await (const { eventName, errorCode } of readAuditEvents(join(folder, 'data', 'audit')))
      if (eventName !== 'AuditCheckpoint') recorded.push(`${eventName} ${errorCode ?? 'done'}`);
    expect(recorded).toEqual([
      'AuditIntent done',
      'CreateKey done',
      'Encrypt KMSInternalException',
      'ListKeys KMSInternalException',
      'CreateKey KMSInternalException',
      'ListAccessKeys KMSInternalException',
      'ListUpkeep KMSInternalException',
      'GetBackingKeys KMSInternalException',
      'GetDaemonStatus done',
      'GetDaemonStatus done',
      'Encrypt done',
    ]);
  });

  test('is waited for again when its hosts are killed while its keys are read', async () => {
    show();
    const { keyStores } = await loadConfiguration(configurationFile);
    const keyStore = await openConfiguredKeyStore('default', keyStores, {}, log);
    try {
      hide();
      for (const pid of keyStore.status().pids) process.kill(pid, 'SIGKILL');
      const { serving, waitsFor } = await start(true, [keyStore]);
      expect(waitsFor()).toMatch(/^cannot look at a key: there is no connection/);
      expect((await refusal(kms.listKeys({}))).message).toBe(retryable);
      show();
      await serving;
      await kms.encrypt({ KeyId: keyId, Plaintext: Buffer.from('x') });
      await stop();
    } finally {
      await keyStore.close();
    }
  });

  test('does not keep the daemon from stopping', async () => {
    const { serving } = await start(true);
    await stop();
    await expect(serving).rejects.toThrow();
  });

  test('ends the start of whoever does not wait', async () => {
    await expect(start(false)).rejects.toThrow(/cannot open token/);
  });

  test('ends the daemon when it comes and refuses the PIN', async () => {
    writeFileSync(join(folder, 'pin'), '00000000\n');
    onTestFinished(() => writeFileSync(join(folder, 'pin'), `${token.pin}\n`));
    const { serving } = await start(true);
    show();
    await expect(serving).rejects.toThrow(/PIN refused/);
  });

  test('ends the daemon when another one comes with its label and its PIN, without the keys', async () => {
    const { serving } = await start(true);
    const { label, pin, library, environment } = token;
    const place = `${tokens()}.new`;
    mkdirSync(place);
    const configuration = join(folder, 'other.conf');
    writeFileSync(configuration, `directories.tokendir = ${place}\nobjectstore.backend = file\n`);
    await initializeToken({
      ...{ library, label, pin, soPin: '87654321', libraryParameters: null },
      environment: { ...environment, SOFTHSM2_CONF: configuration },
    });
    renameSync(place, tokens());
    await expect(serving).rejects.toThrow(/has none of the keys that .* knows: it is another one/);
    expect(await refusal(kms.listKeys({}))).toMatchObject({ message: retryable });
    await stop();
    rmSync(tokens(), { recursive: true });
  });

  test('is waited for, and until then nobody is told that there are no domain keys', async () => {
    await start(true);
    for (const args of [['show'], ['show', '--json'], ['rotate']])
      expect(await refusedCommand(...args, '--socket', socket)).toMatch(
        /^drawbridge: nothing is known of domains yet, while the daemon waits: key store `default`: cannot open token/,
      );
    show();
    await vi.waitFor(() => expect(daemon?.waitsFor()).toBeNull(), { timeout: 170_000, interval: 50 });
    expect(await drawbridge('show', '--socket', socket, '--json')).toEqual([]);
  });
});
