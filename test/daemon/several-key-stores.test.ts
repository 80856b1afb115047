/** Several key stores in one daemon: each is its own, and one that is away keeps nobody from the others. */

import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { cloudHsmClusterIdOf } from '../../src/kms/cluster-id.ts';
import { auditLines } from '../end-to-end/support/audit-trail.ts';
import { heard, refusal } from '../end-to-end/support/refusals.ts';
import { send } from '../end-to-end/support/wire.ts';
import { program } from '../support/program.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { exampleIdentity } from '../support/tls-identity.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { account, InstanceOfStores } from './instance-of-stores.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: several key stores in one daemon: ${missing}\n`);

describe.skipIf(missing !== null)('Several key stores in one daemon', () => {
  let folder: string;
  let vault: TestToken;
  let nss: TestToken;
  let instance: InstanceOfStores;
  let vaultKey: string;
  let nssKey: string;
  let defaultKey: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-pins-'));
    vault = softHsm2.create();
    nss = nssSoftoken.create();
    const pinFile = (token: TestToken): string => {
      const path = join(folder, `${token.profile}-pin`);
      writeFileSync(path, `${token.pin}\n`, { mode: 0o600 });
      return path;
    };
    const anchor = join(folder, 'anchor.crt');
    writeFileSync(anchor, (await exampleIdentity()).authority);
    instance = await InstanceOfStores.create({
      vault: InstanceOfStores.settingsOf(vault, pinFile(vault)),
      soft: { ...InstanceOfStores.settingsOf(nss, pinFile(nss)), keySpecs: 'all' },
      // For a custom key store that nobody has made.
      outside: { ...InstanceOfStores.settingsOf(vault, undefined), trustAnchorCertificate: anchor },
    });
    await instance.start();
    await untilConnected();
  });
  afterAll(async () => {
    await instance?.remove();
    vault?.remove();
    nss?.remove();
    rmSync(folder, { recursive: true });
  });

  const ask = async (path: string) => {
    const { status, body } = await send(instance.socket, { method: 'GET', path });
    return { status, body: JSON.parse(body) as Record<string, unknown> };
  };
  async function states(): Promise<Record<string, string>> {
    const { keyStores } = (await ask('/status')).body as { keyStores: { name: string; state: string }[] };
    return Object.fromEntries(keyStores.map(({ name, state }) => [name, state]));
  }
  const untilConnected = () =>
    vi.waitFor(
      async () => expect(await states()).toEqual({ default: 'connected', vault: 'connected', soft: 'connected' }),
      { timeout: 170_000, interval: 50 },
    );
  const inStore = (CustomKeyStoreId: string) => ({ Origin: 'AWS_CLOUDHSM', CustomKeyStoreId }) as const;
  const stateOf = async (KeyId: string) => (await instance.kms.describeKey({ KeyId })).KeyMetadata?.KeyState;
  const encrypt = (KeyId: string) => instance.kms.encrypt({ KeyId, Plaintext: Buffer.from('x') });

  test('are told of in the order of the configuration', async () => {
    const { keyStores } = (await ask('/status')).body as { keyStores: { name: string }[] };
    expect(keyStores.map(({ name }) => name)).toEqual(['default', 'vault', 'soft']);
  });

  test('make keys where the request says, and say where they are', async () => {
    const { kms } = instance;
    const made = await kms.createKey(inStore('vault'));
    expect(made.KeyMetadata).toMatchObject({
      ...inStore('vault'),
      CloudHsmClusterId: expect.stringMatching(/^cluster-[2-7a-z]{11,16}$/),
      KeyState: 'Enabled',
    });
    // It is of keys that AWS rotates, which those in a custom key store are not.
    expect(made.KeyMetadata).not.toHaveProperty('CurrentKeyMaterialId');
    vaultKey = String(made.KeyMetadata?.KeyId);
    expect((await kms.describeKey({ KeyId: vaultKey })).KeyMetadata).toEqual(made.KeyMetadata);
    const { KeyMetadata } = await kms.createKey({});
    expect(KeyMetadata).toMatchObject({ Origin: 'AWS_KMS' });
    expect(KeyMetadata).not.toHaveProperty('CustomKeyStoreId');
    defaultKey = String(KeyMetadata?.KeyId);
    nssKey = String((await kms.createKey(inStore('soft'))).KeyMetadata?.KeyId);
    for (const KeyId of [vaultKey, defaultKey, nssKey]) {
      const { CiphertextBlob } = await encrypt(KeyId);
      expect(Buffer.from((await kms.decrypt({ CiphertextBlob })).Plaintext ?? []).toString()).toBe('x');
    }
    for (const CustomKeyStoreId of ['vault', 'soft'])
      expect((await kms.generateRandom({ CustomKeyStoreId, NumberOfBytes: 16 })).Plaintext).toHaveLength(16);
  });

  test('are told with the custom key stores, since keys say that they are in them, and are changed in the configuration alone', async () => {
    const { kms } = instance;
    const entryOf = (name: string) => ({
      ...{ CustomKeyStoreId: name, CustomKeyStoreName: name, CloudHsmClusterId: cloudHsmClusterIdOf(account, name) },
      ...{ CustomKeyStoreType: 'AWS_CLOUDHSM', ConnectionState: 'CONNECTED', CreationDate: made },
    });
    // That of the instance, which is some minutes old.
    const made = expect.toSatisfy((date: Date) => Math.abs(Date.now() - date.getTime()) < 3_600_000);
    const all = await kms.describeCustomKeyStores({});
    expect(all).toMatchObject({ CustomKeyStores: [entryOf('soft'), entryOf('vault')], Truncated: false });
    for (const request of [{ CustomKeyStoreId: 'vault' }, { CustomKeyStoreName: 'vault' }])
      expect((await kms.describeCustomKeyStores(request)).CustomKeyStores).toEqual([entryOf('vault')]);
    const first = await kms.describeCustomKeyStores({ Limit: 1 });
    expect(first).toMatchObject({ CustomKeyStores: [entryOf('soft')], Truncated: true });
    const second = await kms.describeCustomKeyStores({ Limit: 1, Marker: first.NextMarker });
    expect(second).toMatchObject({ CustomKeyStores: [entryOf('vault')], Truncated: false });
    const CustomKeyStoreId = 'vault';
    for (const request of heard([
      kms.connectCustomKeyStore({ CustomKeyStoreId }),
      kms.disconnectCustomKeyStore({ CustomKeyStoreId }),
      kms.updateCustomKeyStore({ CustomKeyStoreId, NewCustomKeyStoreName: 'x' }),
      kms.deleteCustomKeyStore({ CustomKeyStoreId }),
    ]))
      expect(await refusal(request)).toEqual({
        name: 'UnsupportedOperationException',
        message: expect.stringContaining('the configuration of Drawbridge names'),
      });
    for (const request of [{ CustomKeyStoreId: 'default' }, { CustomKeyStoreName: 'default' }])
      expect(await refusal(kms.describeCustomKeyStores(request))).toMatchObject({
        name: 'CustomKeyStoreNotFoundException',
      });
  });

  test('say of an HSM for a custom key store what it is, wherever somebody takes it for one of them', async () => {
    const post = (path: string, body: object) =>
      send(instance.socket, { method: 'POST', path, body: JSON.stringify(body) });
    const move = { keys: [vaultKey], residency: null, dryRun: true };
    const asked = (name: string) => [
      post(`/domains/${name}/rotate`, {}),
      post(`/domains/${name}/rotation`, {}),
      post(`/domains/${name}/invite`, {}),
      post(`/key-stores/${name}/reconnect`, {}),
      post('/moves', { ...move, to: name }),
    ];
    for (const answer of asked('outside'))
      expect((await answer).body).toMatch(/NotFoundException.*`outside` is an HSM for a custom key store.*key-stores/);
    for (const answer of asked('nowhere'))
      expect((await answer).body).toMatch(/NotFoundException.*There is no key store `nowhere` in the configuration/);
    const clusterId = cloudHsmClusterIdOf(account, 'outside');
    expect((await ask('/status')).body).toMatchObject({ hsms: [{ name: 'outside', clusterId }] });
    const run = async (...words: string[]) =>
      promisify(execFile)(process.execPath, [program, ...words, '--socket', instance.socket]);
    expect((await run('doctor')).stdout).toMatch(
      new RegExp(`^HSM FOR A CUSTOM KEY STORE +CLUSTER ID\noutside +${clusterId}$`, 'm'),
    );
    expect((await run('keys', 'show', vaultKey)).stdout).toMatch(/^key store +vault \(cluster-\w{11}\)$/m);
    const from = ['--hsm', 'inside', '--trust-anchor', join(folder, 'anchor.crt')];
    await expect(run('key-stores', 'create', 'x', ...from)).rejects.toMatchObject({
      stderr: expect.stringContaining('there is no HSM `inside` for a custom key store; name one of outside'),
    });
  });

  test('take pairs and HMAC keys where keySpecs says all, and else what AWS lets a custom key store take', async () => {
    const { kms } = instance;
    const pair = { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' } as const;
    const mac = { KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' } as const;
    for (const spec of [pair, mac])
      expect(await refusal(kms.createKey({ ...inStore('vault'), ...spec }))).toEqual({
        name: 'UnsupportedOperationException',
        message: `KeySpec ${spec.KeySpec} is not supported for Origin AWS_CLOUDHSM.`,
      });
    const { KeyMetadata } = await kms.createKey({ ...inStore('soft'), ...pair });
    expect(KeyMetadata).toMatchObject({ ...inStore('soft'), KeySpec: 'ECC_NIST_P256' });
    const signing = {
      KeyId: KeyMetadata?.KeyId,
      Message: Buffer.from('m'),
      SigningAlgorithm: 'ECDSA_SHA_256',
    } as const;
    const { Signature } = await kms.sign(signing);
    expect((await kms.verify({ ...signing, Signature })).SignatureValid).toBe(true);
    const macKey = String((await kms.createKey({ ...inStore('soft'), ...mac })).KeyMetadata?.KeyId);
    await kms.generateMac({ KeyId: macKey, Message: Buffer.from('m'), MacAlgorithm: 'HMAC_SHA_256' });

    const KeyPairSpec = 'ECC_NIST_P256';
    await kms.generateDataKeyPairWithoutPlaintext({ KeyId: nssKey, KeyPairSpec });
    for (const request of [
      kms.generateDataKeyPair({ KeyId: vaultKey, KeyPairSpec }),
      kms.generateDataKeyPairWithoutPlaintext({ KeyId: vaultKey, KeyPairSpec, DryRun: true }),
      kms.enableKeyRotation({ KeyId: vaultKey }),
      kms.rotateKeyOnDemand({ KeyId: vaultKey }),
      kms.listKeyRotations({ KeyId: vaultKey, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' }),
      kms.getParametersForImport({
        ...{ KeyId: vaultKey, WrappingAlgorithm: 'RSAES_OAEP_SHA_256', WrappingKeySpec: 'RSA_2048' },
      }),
      kms.createKey({ ...inStore('vault'), MultiRegion: true }),
    ].map(refusal))
      expect((await request).name).toBe('UnsupportedOperationException');
    expect((await kms.getKeyRotationStatus({ KeyId: vaultKey })).KeyRotationEnabled).toBe(false);
    expect((await kms.listKeyRotations({ KeyId: vaultKey })).Rotations).toEqual([]);
    for (const request of heard([
      kms.createKey({ CustomKeyStoreId: 'vault' }),
      kms.createKey({ CustomKeyStoreId: 'vault', Origin: 'EXTERNAL' }),
    ]))
      expect((await refusal(request)).name).toBe('ValidationException');
    expect((await refusal(kms.createKey(inStore('default')))).name).toBe('CustomKeyStoreNotFoundException');
  });

  test('that is away makes its own keys unavailable and no others, and comes back by itself', async () => {
    const { kms } = instance;
    const before = await encrypt(vaultKey);
    const pending = String((await kms.createKey(inStore('vault'))).KeyMetadata?.KeyId);
    await kms.scheduleKeyDeletion({ KeyId: pending, PendingWindowInDays: 7 });
    const [tokens, hidden] = ['tokens', 'hidden'].map((name) => join(vault.folder, name)) as [string, string];
    await instance.stop();
    renameSync(tokens, hidden);
    mkdirSync(tokens);
    await instance.start();
    try {
      expect(await ask('/health')).toEqual({
        status: 200,
        body: { status: 'ok', reason: expect.stringMatching(/^key store vault is (?:re)?connecting$/) },
      });
      expect(await stateOf(vaultKey)).toBe('Unavailable');
      expect(await stateOf(pending)).toBe('PendingDeletion');
      const { KeyMetadata } = await kmsAgain().describeKey({ KeyId: vaultKey });
      expect(KeyMetadata).toMatchObject({ ...inStore('vault'), Enabled: false });
      const unavailable = { name: 'KMSInvalidStateException', message: expect.stringContaining('is unavailable') };
      expect(await refusal(encrypt(vaultKey))).toEqual(unavailable);
      expect(await refusal(kmsAgain().decrypt({ CiphertextBlob: before.CiphertextBlob }))).toEqual(unavailable);
      const notConnected = { name: 'CustomKeyStoreInvalidStateException' };
      expect(await refusal(kmsAgain().createKey(inStore('vault')))).toMatchObject(notConnected);
      const { CustomKeyStores } = await kmsAgain().describeCustomKeyStores({ CustomKeyStoreId: 'vault' });
      expect(CustomKeyStores).toMatchObject([{ ConnectionState: 'CONNECTING' }]);
      const random = { CustomKeyStoreId: 'vault', NumberOfBytes: 8 };
      expect(await refusal(kmsAgain().generateRandom(random))).toMatchObject(notConnected);
      await kmsAgain().generateRandom({ NumberOfBytes: 8 });
      await encrypt(defaultKey);
      await vi.waitFor(async () => {
        const { body } = await send(instance.socket, { path: '/census', body: '{"after":null}' });
        expect(body, 'a census says why').toMatch(/key store `vault`: [^"]*no token has the label/);
      }, 10_000);
      await kmsAgain().disableKey({ KeyId: vaultKey });
      expect(await stateOf(vaultKey)).toBe('Unavailable');
      await kmsAgain().enableKey({ KeyId: vaultKey });
      await kmsAgain().cancelKeyDeletion({ KeyId: pending });
      await vi.waitFor(() => encrypt(nssKey), { timeout: 170_000 });
    } finally {
      rmSync(tokens, { recursive: true });
      renameSync(hidden, tokens);
    }
    await untilConnected();
    expect((await ask('/health')).body).toEqual({ status: 'ok', reason: null });
    expect(await stateOf(vaultKey)).toBe('Enabled');
    const { Plaintext } = await kmsAgain().decrypt({ CiphertextBlob: before.CiphertextBlob });
    expect(Buffer.from(Plaintext ?? []).toString()).toBe('x');
    expect(await stateOf(pending)).toBe('Disabled');
  });

  test('have nothing made in another token of the same label and PIN that stands in the place of theirs', async () => {
    const hosts = async (name: string): Promise<number[]> => {
      const { keyStores } = (await ask('/status')).body as { keyStores: { name: string; pids: number[] }[] };
      return keyStores.find((each) => each.name === name)?.pids ?? [];
    };
    const [tokens, hidden] = ['tokens', 'hidden'].map((name) => join(vault.folder, name)) as [string, string];
    renameSync(tokens, hidden);
    mkdirSync(tokens);
    const init = ['--init-token', '--free', '--label', vault.label, '--so-pin', '12345678', '--pin', vault.pin];
    execFileSync('softhsm2-util', ['--module', vault.library, ...init], {
      env: { ...process.env, ...vault.environment },
      stdio: 'ignore',
    });
    const foreign = readdirSync(tokens).map((name) => join(tokens, name));
    const objectsIn = () =>
      foreign.flatMap((path) =>
        readdirSync(path).filter((name) => name.endsWith('.object') && name !== 'token.object'),
      );
    for (const pid of await hosts('vault')) process.kill(pid, 'SIGKILL');
    await vi.waitFor(
      async () =>
        expect((await ask('/status')).body).toMatchObject({
          keyStores: expect.arrayContaining([
            expect.objectContaining({
              name: 'vault',
              lastFailure: expect.stringMatching(/has none of the keys that the records name/),
            }),
          ]),
        }),
      { timeout: 170_000, interval: 30 },
    );
    expect(await refusal(kmsAgain().createKey(inStore('vault')))).toMatchObject({
      name: 'CustomKeyStoreInvalidStateException',
    });
    expect(objectsIn()).toEqual([]);
    rmSync(tokens, { recursive: true });
    renameSync(hidden, tokens);
    await untilConnected();
    await encrypt(vaultKey);
    await kmsAgain().createKey(inStore('vault'));
  });

  test('say of a key that was deleted in which of them it was', async () => {
    const clocks = new SetClocks();
    instance.clocks = clocks;
    await instance.restart();
    await untilConnected();
    await kmsAgain().scheduleKeyDeletion({ KeyId: nssKey, PendingWindowInDays: 7 });
    await clocks.settled();
    await clocks.pass(8 * 24 * 60 * 60 * 1000);
    const { CloudHsmClusterId } = (await kmsAgain().describeKey({ KeyId: vaultKey })).KeyMetadata ?? {};
    expect(CloudHsmClusterId).toBe(cloudHsmClusterIdOf(account, 'vault'));
    const events = auditLines(instance.folder);
    const [made, scheduled, deleted] = ['CreateKey', 'ScheduleKeyDeletion', 'DeleteKey'].map((eventName) =>
      events.find((event) => event.eventName === eventName && event.resources.some(({ ARN }) => ARN.endsWith(nssKey))),
    );
    const backingKeyId = expect.stringMatching(/^[0-9a-f]{32}$/);
    expect(dataOf(made)).toMatchObject({ backingKey: { backingKeyId } });
    const { backingKey } = dataOf(made);
    const about = { customKeyStoreId: 'soft', clusterId: cloudHsmClusterIdOf(account, 'soft') };
    expect(dataOf(scheduled)).toMatchObject({ ...about, backingKeys: [backingKey] });
    expect(dataOf(deleted)).toMatchObject({
      ...{ ...about, backingKeys: [backingKey] },
      backingKeysDeletionStatus: [{ ...backingKey, deletionStatus: 'SUCCESS' }],
    });
  });

  const kmsAgain = () => instance.kms;

  /** As in CloudTrail, lists of backing keys are JSON in a string. */
  const dataOf = (event: object | undefined) => {
    const { additionalEventData } = event as { additionalEventData: Record<string, unknown> };
    const opened = Object.entries(additionalEventData).map(([name, value]) =>
      name.startsWith('backingKey') ? [name, JSON.parse(value as string)] : [name, value],
    );
    return Object.fromEntries(opened);
  };
});
