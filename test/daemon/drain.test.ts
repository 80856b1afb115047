/** What becomes of keys that are being generated when the daemon stops: the library of the token never ends one here. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readAuditEvents } from '../../src/audit/read-audit-log.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { createInstance } from '../../src/daemon/new-instance.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { describeEachShimmedToken, type ShimmedToken } from '../support/pkcs11-shim.ts';

const log: string[] = [];
const line = (_fields: object, message: string): void => void log.push(message);
const logger = { debug: line, info: line, warn: line, error: line };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-drain-'));
  log.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true }));

/** An instance over the token, and its key store, which is open. */
async function newInstance(token: ShimmedToken): Promise<{ configuration: string; keyStore: KeyStore }> {
  const configuration = join(folder, 'drawbridge.yaml');
  const pinFile = join(folder, 'pin');
  writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
  const { profile, library, label, environment, libraryParameters } = token;
  const keyStore = await createInstance(
    configuration,
    {
      region: 'us-east-1',
      account: '000000000000',
      dataDir: join(folder, 'data'),
      socket: { path: join(folder, 'kms.sock'), mode: '0600' },
      root: [process.getuid?.() ?? 0],
      keyStore: {
        profile,
        library,
        token: { label },
        pinFile,
        environment,
        ...(libraryParameters === null ? {} : { libraryParameters }),
      },
    },
    {},
    logger,
  );
  return { configuration, keyStore };
}

async function start(configuration: string, keyStore: KeyStore): Promise<Daemon> {
  return startDaemon({
    configuration: await loadConfiguration(configuration),
    environment: {},
    log: logger,
    openKeyStores: [keyStore],
    drain: { generationsMs: 1, requestsMs: 60_000 },
  });
}

async function objects(keyStore: KeyStore): Promise<readonly string[]> {
  return (await keyStore.listKeys()).map(({ backingKeyId }) => backingKeyId).sort();
}

describeEachShimmedToken('A daemon that stops while keys are generated', (token) => {
  test('tells their callers to try again, on record, and leaves nothing half made', async () => {
    const { configuration, keyStore } = await newInstance(token());
    const kms = kmsOver(join(folder, 'kms.sock'));
    try {
      const daemon = await start(configuration, keyStore);
      const { KeyMetadata } = await kms.createKey({});
      const before = await objects(keyStore);
      const generations = token().counting('C_GenerateKeyPair');
      token().fault('C_GenerateKeyPair', 'once hang');
      const KeyPairSpec = 'RSA_2048';
      const requests = [
        kms.createKey({ KeySpec: KeyPairSpec, KeyUsage: 'SIGN_VERIFY' }),
        kms.createKey({}),
        kms.generateDataKeyPair({ KeyId: KeyMetadata?.KeyId, KeyPairSpec }),
      ].map(refusal);
      await expect.poll(generations).toBe(1);
      await expect.poll(() => keyStore.status().inFlight).toBeGreaterThan(1);
      await daemon.stop();
      for (const error of await Promise.all(requests))
        expect(error).toMatchObject({
          name: 'KMSInternalException',
          message: 'The request was rejected because an internal exception occurred. The request can be retried.',
        });
      expect(await objects(keyStore)).toEqual(before);
      const recorded: string[] = [];
      for await (const { eventName, errorCode } of readAuditEvents(join(folder, 'data', 'audit')))
        if (!['AuditIntent', 'AuditCheckpoint'].includes(eventName))
          recorded.push(`${eventName} ${errorCode ?? 'done'}`);
      expect(recorded.sort()).toEqual([
        'CreateKey KMSInternalException',
        'CreateKey KMSInternalException',
        'CreateKey done',
        'GenerateDataKeyPair KMSInternalException',
      ]);
      expect(log).not.toContain('an unfinished key creation is undone at the next start');
    } finally {
      kms.destroy();
      await keyStore.close();
    }
  });
});
