/**
 * Two Regions of one daemon: one store, one order of turns and one audit log, and nothing mixed up. The second Region makes its
 * keys in a token of its own, the annex, and uses those in the first one's too.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KMS } from '@aws-sdk/client-kms';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import type { Configuration } from '../../src/config/configuration-schema.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { openStore } from '../../src/daemon/data-folder.ts';
import { createInstance } from '../../src/daemon/new-instance.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { ScopedKeys } from '../../src/identity/scoped-keys.ts';
import { newBackingKeyId, parseKeyId, rootArn } from '../../src/kms/names.ts';
import { Secret } from '../../src/secrets/secret-bytes.ts';
import { added } from '../../src/store/records/changes.ts';
import { type BackingKeyRecord, inToken } from '../../src/store/records/records.ts';
import { Turns } from '../../src/store/turns.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { invalidCiphertext, keyNotFound, refusal, refused } from '../end-to-end/support/refusals.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';

const account = '000000000000';
const [here, there] = ['us-east-1', 'eu-central-1'] as const;
const multiRegionKey = `mrk-${'5'.repeat(32)}`;
const signer = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };
const keyArnIn = (region: string, keyId: string): string => `arn:aws:kms:${region}:${account}:key/${keyId}`;
const logger = { debug() {}, info() {}, warn() {}, error() {} };

if (softHsm2.missing !== null) process.stdout.write(`skipped: two Regions of one daemon: ${softHsm2.missing}\n`);

describe.skipIf(softHsm2.missing !== null)('two Regions of one daemon', () => {
  let folder: string;
  let token: TestToken;
  let annex: TestToken;
  let keyStore: KeyStore;
  let configuration: Configuration;
  let daemon: Daemon;
  let clients: Record<typeof here | typeof there, KMS>;

  async function start(): Promise<void> {
    daemon = await startDaemon({
      configuration,
      environment: {},
      log: logger,
      openKeyStores: [keyStore],
      findFixedKey: (id) => (id === signer.accessKeyId ? rootKey() : undefined),
    });
    const [a, b] = daemon.regions.map(({ socketPath }) => kmsOver(socketPath));
    if (a === undefined || b === undefined) throw new Error('two Regions listen');
    clients = { [here]: a, [there]: b };
  }

  async function stop(): Promise<void> {
    for (const client of Object.values(clients)) client.destroy();
    await daemon.stop();
  }

  /** The records that replicas of a multi-Region key have; no request makes one. */
  async function replicate(): Promise<void> {
    const keyId = parseKeyId(multiRegionKey);
    if (keyId === undefined) throw new Error('it is the id of a multi-Region key');
    const { store, useServiceKey } = await openStore({ dataDir: configuration.dataDir, region: here });
    await useServiceKey(keyStore);
    await store.load();
    const backingKeyId = newBackingKeyId();
    const spec = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    await keyStore.generateKey({ backingKeyId, label: `drawbridge:${keyId}:1`, ...spec });
    const backingKey: BackingKeyRecord = {
      backingKeyId,
      version: 1,
      keyId,
      regions: `${there} ${here}`,
      keyStore: keyStore.name,
      residency: 'token',
      state: 'Active',
      owner: '',
      ordinal: 1,
      createdAtMs: 0,
      reservedEncryptions: 0,
      publicKey: null,
      ...{
        rotationType: null,
        rotatedAtMs: null,
        importedMaterialId: '',
        materialDescription: '',
        validToMs: null,
        ...inToken,
      },
    };
    const replica = (region: string) => [
      added('key', {
        ...{ region, keyId, version: 1, state: 'Enabled', ...spec, origin: 'AWS_KMS', description: `of ${region}` },
        ...{ createdAtMs: 0, currentBackingKeyId: backingKeyId, tags: [], deletionDateMs: null },
        ...{ keyManager: 'CUSTOMER', rotationPeriodDays: null, nextRotationDateMs: null },
        ...{ primaryRegion: here, deletionWindowDays: null },
      }),
      added('keyPolicy', { region, keyId, version: 1, document: defaultKeyPolicy({ account }) }),
    ];
    await new Turns(store).take(() => ({
      changes: [added('backingKey', backingKey), ...replica(here), ...replica(there)],
      response: undefined,
    }));
    await store.close();
  }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-regions-'));
    token = softHsm2.create();
    annex = softHsm2.create();
    const path = join(folder, 'drawbridge.yaml');
    const pinFile = join(folder, 'pin');
    writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
    const { profile, library, label, environment } = token;
    const choices = {
      ...{ region: here, account, dataDir: join(folder, 'data'), root: [process.getuid?.() ?? 0] },
      socket: { path: join(folder, 'here.sock'), mode: '0600' },
      keyStore: { profile, library, token: { label }, pinFile, environment },
    };
    keyStore = await createInstance(path, choices, {}, logger);
    const written = await loadConfiguration(path);
    const first = { ...written.regions[0], loopback: { host: '127.0.0.1', port: 0 } };
    const second = {
      ...first,
      region: there,
      socket: { path: join(folder, 'there.sock'), mode: '0600' },
      keyStores: [keyStore.name, 'annex'],
      defaultKeyStore: 'annex',
    };
    const like = written.keyStores.get(keyStore.name);
    if (like === undefined) throw new Error('there is a key store');
    const annexPin = join(folder, 'annex-pin');
    writeFileSync(annexPin, `${annex.pin}\n`, { mode: 0o600 });
    const [member] = like.members;
    const other: typeof like = {
      ...like,
      members: [
        {
          ...member,
          name: 'annex',
          token: { label: annex.label },
          pin: { file: annexPin },
          environment: annex.environment,
        },
      ],
    };
    configuration = {
      ...written,
      regions: [first, second],
      keyStores: new Map([...written.keyStores, ['annex', other]]),
    };
    await replicate();
    await start();
  });
  afterAll(async () => {
    await stop();
    await keyStore.close();
    token.remove();
    annex.remove();
    rmSync(folder, { recursive: true });
  });

  test('listen where each of them is configured to', () => {
    expect(daemon.regions.map(({ region, socketPath }) => [region, socketPath])).toEqual([
      [here, join(folder, 'here.sock')],
      [there, join(folder, 'there.sock')],
    ]);
  });

  test.each([
    [here, there],
    [there, here],
  ] as const)('a key of %s has its ARN, and is not there for who asks in %s', async (region, other) => {
    const { KeyMetadata } = await clients[region].createKey({});
    const KeyId = String(KeyMetadata?.KeyId);
    expect(KeyMetadata).toMatchObject({ Arn: keyArnIn(region, KeyId), MultiRegion: false });
    const elsewhere = clients[other];
    expect(await refusal(elsewhere.describeKey({ KeyId }))).toEqual(keyNotFound(keyArnIn(other, KeyId)));
    const byArn = elsewhere.describeKey({ KeyId: keyArnIn(region, KeyId) });
    expect(await refusal(byArn)).toEqual(refused('NotFoundException', `Invalid arn ${region}`));
    const { Keys = [] } = await elsewhere.listKeys({ Limit: 1000 });
    expect(Keys.map((key) => key.KeyId)).not.toContain(KeyId);
    const { CiphertextBlob } = await clients[region].encrypt({ KeyId, Plaintext: Buffer.from('x') });
    expect(await refusal(elsewhere.decrypt({ CiphertextBlob }))).toEqual(invalidCiphertext);
    await clients[region].decrypt({ CiphertextBlob });
  });

  test('make keys each in its own key store', async () => {
    // Others come and go: what a token must refuse is tried with keys of its own.
    const isHere = async (region: typeof here | typeof there) => {
      const keyId = String((await clients[region].createKey({})).KeyMetadata?.KeyId);
      return (await keyStore.listKeys()).some(({ label }) => label.includes(keyId));
    };
    expect([await isHere(there), await isHere(here)]).toEqual([false, true]);
  });

  test('one alias name stands for another key in each, and goes in one without the other', async () => {
    const AliasName = 'alias/payroll';
    const keyIds: string[] = [];
    for (const region of [here, there] as const) {
      const { KeyMetadata } = await clients[region].createKey({});
      keyIds.push(String(KeyMetadata?.KeyId));
      await clients[region].createAlias({ AliasName, TargetKeyId: KeyMetadata?.KeyId });
    }
    const targetIn = async (region: typeof here | typeof there) =>
      (await clients[region].describeKey({ KeyId: AliasName })).KeyMetadata?.KeyId;
    expect([await targetIn(here), await targetIn(there)]).toEqual(keyIds);
    await clients[here].deleteAlias({ AliasName });
    expect((await refusal(clients[here].describeKey({ KeyId: AliasName }))).name).toBe('NotFoundException');
    expect(await targetIn(there)).toBe(keyIds[1]);
  });

  test('one multi-Region key id is a key of each: one material, and a state of its own', async () => {
    const KeyId = multiRegionKey;
    for (const region of [here, there] as const) {
      const { KeyMetadata } = await clients[region].describeKey({ KeyId });
      expect(KeyMetadata).toMatchObject({
        Arn: keyArnIn(region, KeyId),
        Description: `of ${region}`,
        MultiRegion: true,
      });
    }
    const { CiphertextBlob } = await clients[here].encrypt({ KeyId, Plaintext: Buffer.from('shared') });
    const decrypted = await clients[there].decrypt({ CiphertextBlob });
    expect(decrypted.KeyId).toBe(keyArnIn(there, KeyId));
    expect(Buffer.from(decrypted.Plaintext ?? []).toString()).toBe('shared');
    await clients[here].disableKey({ KeyId });
    expect((await refusal(clients[here].decrypt({ CiphertextBlob }))).name).toBe('DisabledException');
    await clients[there].decrypt({ CiphertextBlob });
    await clients[here].enableKey({ KeyId });
  });

  test('do not count encryptions by one number twice, where they share the material', async () => {
    const input = { KeyId: multiRegionKey, Plaintext: Buffer.from('x') };
    await Promise.all([clients[here].encrypt(input), clients[there].encrypt(input)]);
    await stop();
    const { store, useServiceKey } = await openStore({ dataDir: configuration.dataDir, region: here });
    await useServiceKey(keyStore);
    const { backingKey } = await store.load();
    await store.close();
    expect(backingKey.find(({ keyId }) => keyId === multiRegionKey)?.reservedEncryptions).toBe(2 * 2 ** 16);
    await start();
  });

  test('aws:RequestedRegion is the Region that was asked', async () => {
    const statement = { Effect: 'Allow', Principal: '*', Action: 'kms:*', Resource: '*' };
    const StringEquals = { 'aws:RequestedRegion': here };
    const denied = { ...statement, Effect: 'Deny', Action: 'kms:Encrypt', Condition: { StringEquals } };
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement: [statement, denied] });
    const encryptIn = async (region: typeof here | typeof there) => {
      const { KeyMetadata } = await clients[region].createKey({ Policy });
      return clients[region].encrypt({ KeyId: KeyMetadata?.KeyId, Plaintext: Buffer.from('x') });
    };
    expect((await refusal(encryptIn(here))).name).toBe('AccessDeniedException');
    expect((await encryptIn(there)).KeyId).toContain(`:${there}:`);
  });

  test('a signature is taken by any loopback listener, for the Region that it was made for, and for no other', async () => {
    for (const at of [0, 1]) {
      const endpoint = daemon.regions[at]?.endpoint ?? '';
      for (const signedFor of [here, there, 'ap-southeast-2']) {
        const kms = new KMS({ region: signedFor, endpoint, credentials: signer, maxAttempts: 1 });
        const answer = kms.createKey({});
        if (signedFor !== 'ap-southeast-2') expect((await answer).KeyMetadata?.Arn).toContain(`:${signedFor}:`);
        else expect((await refusal(answer)).name).toMatch(/Signature/);
        kms.destroy();
      }
    }
  });

  test('a signature names the Region also to AWS STS, at whichever listener', async () => {
    const asked: string[] = [];
    for (const at of [0, 1]) {
      for (const region of [here, there]) {
        const endpoint = daemon.regions[at]?.endpoint ?? '';
        const { answer, requestId } = await askSts(region, endpoint);
        expect(answer).toContain(':root</Arn>');
        asked.push(`${requestId} ${region}`);
      }
    }
    const recorded: string[] = [];
    for await (const { requestID, awsRegion } of readAuditEvents(configuration.audit.folder))
      recorded.push(`${requestID} ${awsRegion}`);
    expect(recorded).toEqual(expect.arrayContaining(asked));
  });

  test('stand in the one audit log, each event with the Region that was asked', async () => {
    const asked: string[] = [];
    for (const region of [here, there, here] as const) {
      const { $metadata } = await clients[region].generateRandom({ NumberOfBytes: 8 });
      asked.push(`${$metadata.requestId} ${region}`);
      const refusedId = await clients[region]
        .describeKey({ KeyId: 'alias/none' })
        .catch((error) => error.$metadata.requestId);
      asked.push(`${refusedId} ${region}`);
    }
    const recorded: string[] = [];
    const auditFolder = configuration.audit.folder;
    for await (const { eventName, requestID, awsRegion } of readAuditEvents(auditFolder))
      if (eventName !== 'AuditCheckpoint') recorded.push(`${requestID} ${awsRegion}`);
    expect(recorded.slice(-asked.length)).toEqual(asked);
    expect(await verifyAuditLog(auditFolder)).toMatchObject({ ok: true });
  });

  test('are as they were after a restart, and none is left out of it', async () => {
    const listed = async () =>
      [await clients[here].listKeys({}), await clients[there].listKeys({})].map(({ Keys }) => Keys);
    const before = await listed();
    await stop();
    const onlyHere: Configuration = { ...configuration, regions: [configuration.regions[0]] };
    const started = startDaemon({ configuration: onlyHere, environment: {}, log: logger, openKeyStores: [keyStore] });
    await expect(started).rejects.toThrow(
      `the metadata has keys of the Region \`${there}\`, and the configuration serves \`${here}\``,
    );
    await start();
    expect(await listed()).toEqual(before);
  });

  /** GetCallerIdentity, signed by the SDK's own signer. */
  async function askSts(signedFor: string, endpoint: string) {
    const { host, hostname } = new URL(endpoint);
    const kms = new KMS({ region: signedFor, endpoint, credentials: signer });
    const made = (await kms.config.signer()) as unknown as {
      sign(request: object, options: object): Promise<{ headers: Record<string, string> }>;
    };
    const query = { Action: 'GetCallerIdentity', Version: '2011-06-15' };
    const request = { method: 'GET', protocol: 'http:', hostname, path: '/', query, headers: { host }, body: '' };
    const { headers } = await made.sign(request, { signingService: 'sts' });
    kms.destroy();
    const answer = await (await fetch(`${endpoint}/?${new URLSearchParams(query)}`, { headers })).text();
    return { answer, requestId: /<RequestId>(.*)<\/RequestId>/.exec(answer)?.[1] };
  }

  function rootKey() {
    const bytes = Buffer.alloc(signer.secretAccessKey.length);
    bytes.write(signer.secretAccessKey);
    return {
      keys: ScopedKeys.of(new Secret(bytes)),
      caller: { type: 'Root', arn: rootArn({ account }), accountId: account },
    } as const;
  }
});
