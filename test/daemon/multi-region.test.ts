/**
 * Multi-Region keys, as a stranger would try them who has read AWS's guide: two Regions of one daemon, replicas made and deleted,
 * the primary key moved, and what is shared shared at every moment.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { CreateKeyRequest, KeyMetadata, KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import type { Configuration } from '../../src/config/configuration-schema.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { createInstance } from '../../src/daemon/new-instance.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { allow, policy } from '../end-to-end/support/policies.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { send } from '../end-to-end/support/wire.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: multi-Region keys: ${softHsm2.missing}\n`);

const account = '000000000000';
const [here, there] = ['us-east-1', 'eu-central-1'] as const;
const dayMs = 24 * 60 * 60 * 1000;
const arnIn = (region: string, keyId: string): string => `arn:aws:kms:${region}:${account}:key/${keyId}`;
const logger = { debug() {}, info() {}, warn() {}, error() {} };

describe.skipIf(softHsm2.missing !== null)('a multi-Region key', () => {
  let folder: string;
  let token: TestToken;
  let annex: TestToken;
  let keyStore: KeyStore;
  let configuration: Configuration;
  let daemon: Daemon;
  let clocks: SetClocks;
  let kms: Record<typeof here | typeof there, KMS>;

  async function start(): Promise<void> {
    daemon = await startDaemon({ configuration, environment: {}, log: logger, openKeyStores: [keyStore], clocks });
    const [a, b] = daemon.regions.map(({ socketPath }) => kmsOver(socketPath));
    kms = { [here]: present(a), [there]: present(b) };
  }

  async function stop(): Promise<void> {
    for (const client of Object.values(kms)) client.destroy();
    await daemon.stop();
  }

  async function newPrimary(request: CreateKeyRequest = {}): Promise<string> {
    const { KeyMetadata } = await kms[here].createKey({ MultiRegion: true, ...request });
    return present(KeyMetadata?.KeyId);
  }

  async function newPair(request: CreateKeyRequest = {}): Promise<string> {
    const KeyId = await newPrimary(request);
    await kms[here].replicateKey({ KeyId, ReplicaRegion: there });
    return KeyId;
  }

  async function described(region: typeof here | typeof there, KeyId: string): Promise<KeyMetadata> {
    return present((await kms[region].describeKey({ KeyId })).KeyMetadata);
  }

  /** Requests have the machine's time, which is behind by now: what came due at once waits for another day of running. */
  async function passDays(days: number): Promise<void> {
    await clocks.pass(days * dayMs);
    await clocks.pass(2 * dayMs);
  }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-multi-region-'));
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
    const [first] = written.regions;
    const like = present(written.keyStores.get(keyStore.name));
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
    const socket = { path: join(folder, 'there.sock'), mode: '0600' };
    const second = { ...first, region: there, socket, keyStores: [keyStore.name, 'annex'], defaultKeyStore: 'annex' };
    const keyStores = new Map([...written.keyStores, ['annex', other]]);
    configuration = { ...written, regions: [first, second], keyStores };
    clocks = new SetClocks();
    await start();
  });
  afterAll(async () => {
    await stop();
    await keyStore.close();
    token.remove();
    annex.remove();
    rmSync(folder, { recursive: true });
  });

  test('is made as a primary key without replicas, with nothing in the token', async () => {
    const objects = async () => (await keyStore.listKeys()).map(({ label }) => label);
    const { KeyMetadata } = await kms[here].createKey({ MultiRegion: true });
    const KeyId = present(KeyMetadata?.KeyId);
    expect(KeyId).toMatch(/^mrk-[0-9a-f]{32}$/);
    expect(KeyMetadata).toMatchObject({
      ...{ Arn: arnIn(here, KeyId), MultiRegion: true, KeyState: 'Enabled' },
      MultiRegionConfiguration: {
        MultiRegionKeyType: 'PRIMARY',
        PrimaryKey: { Arn: arnIn(here, KeyId), Region: here },
        ReplicaKeys: [],
      },
    });
    expect((await objects()).filter((label) => label.includes(KeyId))).toEqual([]);
    expect((await refusal(kms[there].describeKey({ KeyId }))).name).toBe('NotFoundException');
  });

  test('has its material counted once under its domain key, in however many Regions it is', async () => {
    const wrapped = async (): Promise<number> => {
      const { body } = await send(join(folder, 'here.sock'), { method: 'GET', path: '/status' });
      const { keyStores } = JSON.parse(body) as { keyStores: { domainKeys: { backingKeys: number }[] }[] };
      return keyStores.flatMap(({ domainKeys }) => domainKeys).reduce((sum, { backingKeys }) => sum + backingKeys, 0);
    };
    await newPrimary();
    const before = await wrapped();
    await newPair();
    expect((await wrapped()) - before).toBe(1);
  });

  test('is replicated with what is shared, and without what is not', async () => {
    const Tags = [{ TagKey: 'stage', TagValue: 'test' }];
    const KeyId = await newPrimary({ Description: 'the first', Tags });
    await kms[here].createAlias({ AliasName: 'alias/first', TargetKeyId: KeyId });
    const replicated = await kms[here].replicateKey({ KeyId, ReplicaRegion: there, Description: 'the second' });
    const related = {
      PrimaryKey: { Arn: arnIn(here, KeyId), Region: here },
      ReplicaKeys: [{ Arn: arnIn(there, KeyId), Region: there }],
    };
    expect(replicated.ReplicaKeyMetadata).toMatchObject({
      ...{ Arn: arnIn(there, KeyId), KeyState: 'Creating', Enabled: false, Description: 'the second' },
      MultiRegionConfiguration: { MultiRegionKeyType: 'REPLICA', ...related },
    });
    expect(JSON.parse(present(replicated.ReplicaPolicy))).toMatchObject({ Version: '2012-10-17' });
    expect(replicated.ReplicaTags).toBeUndefined();
    const [primary, replica] = [await described(here, KeyId), await described(there, KeyId)];
    expect(primary.MultiRegionConfiguration).toEqual({ MultiRegionKeyType: 'PRIMARY', ...related });
    expect(replica).toMatchObject({ KeyState: 'Enabled', CurrentKeyMaterialId: primary.CurrentKeyMaterialId });
    expect((await kms[there].listResourceTags({ KeyId })).Tags).toEqual([]);
    expect((await kms[there].listAliases({ KeyId })).Aliases).toEqual([]);
    const AlreadyExists = await refusal(kms[here].replicateKey({ KeyId, ReplicaRegion: there }));
    expect(AlreadyExists.name).toBe('AlreadyExistsException');
  });

  test.each([
    ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT'],
    ['RSA_2048', 'ENCRYPT_DECRYPT'],
  ] as const)('of %s decrypts in one Region what was encrypted in the other', async (KeySpec, KeyUsage) => {
    const KeyId = await newPair({ KeySpec, KeyUsage });
    const EncryptionAlgorithm = KeySpec === 'RSA_2048' ? 'RSAES_OAEP_SHA_1' : 'SYMMETRIC_DEFAULT';
    for (const [from, to] of [
      [here, there],
      [there, here],
    ] as const) {
      const Plaintext = Buffer.from(`from ${from}`);
      const { CiphertextBlob } = await kms[from].encrypt({ KeyId, Plaintext, EncryptionAlgorithm });
      const decrypted = await kms[to].decrypt({ KeyId, CiphertextBlob, EncryptionAlgorithm });
      expect(decrypted.KeyId).toBe(arnIn(to, KeyId));
      expect(Buffer.from(present(decrypted.Plaintext))).toEqual(Plaintext);
    }
  });

  test('of HMAC and of ECDSA is the same key in both Regions', async () => {
    const mac = await newPair({ KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' });
    const MacAlgorithm = 'HMAC_SHA_256';
    const Message = Buffer.from('m');
    const { Mac } = await kms[here].generateMac({ KeyId: mac, MacAlgorithm, Message });
    expect(await kms[there].verifyMac({ KeyId: mac, MacAlgorithm, Message, Mac })).toMatchObject({ MacValid: true });
    const pair = await newPair({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' });
    const SigningAlgorithm = 'ECDSA_SHA_256';
    const { Signature } = await kms[there].sign({ KeyId: pair, SigningAlgorithm, Message });
    const verified = await kms[here].verify({ KeyId: pair, SigningAlgorithm, Message, Signature });
    expect(verified.SignatureValid).toBe(true);
  });

  test('is rotated at its primary key, for all Regions at once', async () => {
    const KeyId = await newPair();
    const before = await kms[there].encrypt({ KeyId, Plaintext: Buffer.from('before') });
    await kms[here].rotateKeyOnDemand({ KeyId });
    const current = async (region: typeof here | typeof there) => (await described(region, KeyId)).CurrentKeyMaterialId;
    const former = await current(here);
    expect(await current(there)).toBe(former);
    const after = await kms[there].encrypt({ KeyId, Plaintext: Buffer.from('after') });
    for (const { CiphertextBlob } of [before, after]) await kms[here].decrypt({ CiphertextBlob });
    await kms[here].enableKeyRotation({ KeyId, RotationPeriodInDays: 90 });
    const schedule = { KeyRotationEnabled: true, RotationPeriodInDays: 90 };
    const statuses = () => Promise.all([kms[here], kms[there]].map((each) => each.getKeyRotationStatus({ KeyId })));
    expect(await statuses()).toMatchObject([schedule, schedule]);
    // A key that is pending deletion is not rotated, and so its replicas are not either.
    await kms[here].scheduleKeyDeletion({ KeyId });
    for (const { KeyRotationEnabled } of await statuses()) expect(KeyRotationEnabled).toBe(false);
    await kms[here].cancelKeyDeletion({ KeyId });
    await kms[here].enableKey({ KeyId });
    expect(await statuses()).toMatchObject([schedule, schedule]);
    const refused = [
      refusal(kms[there].rotateKeyOnDemand({ KeyId })),
      refusal(kms[there].enableKeyRotation({ KeyId })),
      refusal(kms[there].disableKeyRotation({ KeyId })),
    ];
    for (const { name } of await Promise.all(refused)) expect(name).toBe('UnsupportedOperationException');
    await passDays(91);
    await expect.poll(() => current(there)).not.toBe(former);
    expect(await current(here)).toBe(await current(there));
  });

  test('gets another primary key, which then has the schedule and can be replicated', async () => {
    const KeyId = await newPair();
    await kms[here].enableKeyRotation({ KeyId, RotationPeriodInDays: 100 });
    expect(await kms[here].updatePrimaryRegion({ KeyId, PrimaryRegion: there })).toMatchObject({});
    const types = async () =>
      [await described(here, KeyId), await described(there, KeyId)].map(
        ({ MultiRegionConfiguration }) => MultiRegionConfiguration?.MultiRegionKeyType,
      );
    expect(await types()).toEqual(['REPLICA', 'PRIMARY']);
    expect(await kms[here].getKeyRotationStatus({ KeyId })).toMatchObject({ RotationPeriodInDays: 100 });
    expect((await refusal(kms[here].rotateKeyOnDemand({ KeyId }))).name).toBe('UnsupportedOperationException');
    await kms[there].rotateKeyOnDemand({ KeyId });
    expect((await refusal(kms[here].updatePrimaryRegion({ KeyId, PrimaryRegion: here }))).name).toBe(
      'UnsupportedOperationException',
    );
    await kms[there].updatePrimaryRegion({ KeyId, PrimaryRegion: here });
    expect(await types()).toEqual(['PRIMARY', 'REPLICA']);
  });

  test('waits, as a primary key, for the deletion of its replicas', async () => {
    const KeyId = await newPair();
    const { CiphertextBlob } = await kms[there].encrypt({ KeyId, Plaintext: Buffer.from('kept') });
    const scheduled = await kms[here].scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    expect(scheduled).toMatchObject({ KeyState: 'PendingReplicaDeletion', PendingWindowInDays: 7 });
    expect(scheduled.DeletionDate).toBeUndefined();
    expect(await described(here, KeyId)).toMatchObject({ PendingDeletionWindowInDays: 7 });
    await kms[here].cancelKeyDeletion({ KeyId });
    expect(await described(here, KeyId)).toMatchObject({ KeyState: 'Disabled' });
    await kms[here].scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await kms[there].decrypt({ CiphertextBlob });
    await kms[there].scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await passDays(8);
    await expect.poll(async () => (await described(here, KeyId)).KeyState).toBe('PendingDeletion');
    expect((await refusal(kms[there].describeKey({ KeyId }))).name).toBe('NotFoundException');
    expect(await described(here, KeyId)).toMatchObject({ MultiRegionConfiguration: { ReplicaKeys: [] } });
    await kms[here].cancelKeyDeletion({ KeyId });
    await kms[here].enableKey({ KeyId });
    await kms[here].decrypt({ CiphertextBlob });
    // A replica that was deleted may be made anew.
    await kms[here].replicateKey({ KeyId, ReplicaRegion: there });
    await kms[there].decrypt({ CiphertextBlob });
    await stop();
    await start();
    await kms[there].decrypt({ CiphertextBlob });
    await kms[there].scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await kms[here].scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await passDays(8);
    await expect.poll(async () => (await described(here, KeyId)).KeyState).toBe('PendingDeletion');
    await passDays(8);
    await expect.poll(async () => (await refusal(kms[here].describeKey({ KeyId }))).name).toBe('NotFoundException');
    expect((await refusal(kms[here].decrypt({ CiphertextBlob }))).name).toMatch(/NotFound|InvalidCiphertext/);
  });

  test.each([
    ['a Region that is not served', { ReplicaRegion: 'ap-southeast-2' }, 'ValidationException'],
    ['what is no Region', { ReplicaRegion: 'nowhere' }, 'ValidationException'],
    ['its own Region', { ReplicaRegion: here }, 'AlreadyExistsException'],
  ])('is not replicated into %s', async (_what, request, name) => {
    const KeyId = await newPrimary();
    expect((await refusal(kms[here].replicateKey({ KeyId, ...request }))).name).toBe(name);
  });

  test('is described while the records of a related key do not verify, without that one, and changed no more', async () => {
    const KeyId = await newPair();
    const edit = async (by: number) => {
      await stop();
      const database = new DatabaseSync(join(folder, 'data', 'metadata.db'));
      const change = 'UPDATE kms_key SET created_at_ms = created_at_ms + ? WHERE key_id = ? AND region = ?';
      database.prepare(change).run(by, KeyId, there);
      database.close();
      await start();
    };
    await edit(1);
    expect(await described(here, KeyId)).toMatchObject({
      KeyState: 'Enabled',
      MultiRegionConfiguration: { PrimaryKey: { Region: here }, ReplicaKeys: [] },
    });
    const refused = [
      kms[there].describeKey({ KeyId }),
      kms[here].scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 }),
      kms[here].rotateKeyOnDemand({ KeyId }),
      kms[here].updatePrimaryRegion({ KeyId, PrimaryRegion: there }),
    ];
    for (const { name } of await Promise.all(refused.map(refusal))) expect(name).toBe('KMSInternalException');
    await edit(-1);
    expect((await described(here, KeyId)).MultiRegionConfiguration?.ReplicaKeys).toMatchObject([{ Region: there }]);
  });

  test('is not what a key of a single Region becomes, nor a replica', async () => {
    const single = present((await kms[here].createKey({})).KeyMetadata?.KeyId);
    const KeyId = await newPair();
    const refused = [
      refusal(kms[here].replicateKey({ KeyId: single, ReplicaRegion: there })),
      refusal(kms[there].replicateKey({ KeyId, ReplicaRegion: here })),
    ];
    for (const { name } of await Promise.all(refused)) expect(name).toBe('UnsupportedOperationException');
  });

  test('is not replicated to where no HSM has its material', async () => {
    const { KeyMetadata } = await kms[there].createKey({ MultiRegion: true });
    const refused = await refusal(kms[there].replicateKey({ KeyId: KeyMetadata?.KeyId, ReplicaRegion: here }));
    expect(refused).toMatchObject({ name: 'UnsupportedOperationException' });
    expect(refused.message).toContain('No key store of the Region us-east-1 is in the domain of `annex`');
  });

  test('is on record in both Regions when it is replicated, and when its primary key moves, and once otherwise', async () => {
    const KeyId = await newPrimary();
    const asked = await kms[here].replicateKey({ KeyId, ReplicaRegion: there, Description: 'the second' });
    const moved = await kms[here].updatePrimaryRegion({ KeyId, PrimaryRegion: there });
    const unmoved = await kms[there].updatePrimaryRegion({ KeyId, PrimaryRegion: there }).catch((error) => error);
    const refused = await kms[here].replicateKey({ KeyId, ReplicaRegion: there }).catch((error) => error);
    const lines: Record<string, unknown>[] = [];
    for await (const event of readAuditEvents(configuration.audit.folder)) lines.push({ ...event });
    const of = ({ $metadata }: { $metadata: { requestId?: string } }) =>
      lines.filter(({ requestID }) => requestID === $metadata.requestId);
    expect(of(asked)).toMatchObject([
      {
        ...{ eventName: 'CreateKey', awsRegion: there, eventType: 'AwsApiCall', readOnly: false },
        userIdentity: { type: 'Root', invokedBy: 'kms.amazonaws.com' },
        requestParameters: {
          description: 'the second',
          multiRegion: true,
          origin: 'AWS_KMS',
          keyUsage: 'ENCRYPT_DECRYPT',
        },
        responseElements: { keyMetadata: { arn: arnIn(there, KeyId), keyState: 'Creating' } },
        resources: [{ ARN: arnIn(there, KeyId) }],
      },
      { eventName: 'ReplicateKey', awsRegion: here, requestParameters: { replicaRegion: there } },
    ]);
    expect(of(asked)[1]).not.toMatchObject({ userIdentity: { invokedBy: expect.anything() } });
    expect(of(moved)).toMatchObject([
      {
        ...{ eventName: 'UpdatePrimaryRegion', awsRegion: there, responseElements: null, resources: [] },
        userIdentity: { invokedBy: 'kms.amazonaws.com' },
        requestParameters: { keyId: arnIn(there, KeyId), primaryRegion: there },
      },
      { eventName: 'UpdatePrimaryRegion', awsRegion: here, requestParameters: { keyId: KeyId, primaryRegion: there } },
    ]);
    for (const answer of [unmoved, refused]) expect(of(answer)).toHaveLength(1);
    expect(await verifyAuditLog(configuration.audit.folder)).toMatchObject({ ok: true });
  });

  test('is replicated and moved by whoever policies allow it in both Regions', async () => {
    const root = `arn:aws:iam::${account}:root`;
    const denied = (action: string, key: string, value: string) => ({
      ...allow('*', action),
      ...{ Effect: 'Deny', Condition: { StringEquals: { [key]: value } } },
    });
    const noReplica = policy(allow(root, 'kms:*'), denied('kms:ReplicateKey', 'kms:ReplicaRegion', there));
    const kept = await newPrimary({ Policy: noReplica });
    const refused = await refusal(kms[here].replicateKey({ KeyId: kept, ReplicaRegion: there }));
    expect(refused.name).toBe('AccessDeniedException');
    const KeyId = await newPrimary();
    const staysReplica = policy(
      allow(root, 'kms:*'),
      denied('kms:UpdatePrimaryRegion', 'kms:MultiRegionKeyType', 'REPLICA'),
    );
    await kms[here].replicateKey({ KeyId, ReplicaRegion: there, Policy: staysReplica });
    const moved = await refusal(kms[here].updatePrimaryRegion({ KeyId, PrimaryRegion: there }));
    expect(moved).toMatchObject({ name: 'AccessDeniedException' });
    expect(moved.message).toContain(arnIn(there, KeyId));
  });
});
