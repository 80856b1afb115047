/** Custom key stores, by AWS's six operations, over real tokens; the hosts' logins are counted by a shim in front of the library. */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { cloudHsmClusterIdOf } from '../../src/kms/cluster-id.ts';
import { account, type InstanceOfStores } from '../daemon/instance-of-stores.ts';
import { missingForShim, type Shim } from '../support/pkcs11-shim.ts';
import { program } from '../support/program.ts';
import { exampleIdentity } from '../support/tls-identity.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { auditLines, filesIn } from './support/audit-trail.ts';
import { type CustomHsms, startCustomHsms } from './support/custom-hsms.ts';
import { heard, refusal } from './support/refusals.ts';
import { backUp, rehearse } from './support/rehearsals.ts';
import { childrenOf, formsOf, inCoreOf, startedWith } from './support/secret-places.ts';
import { send } from './support/wire.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing ?? missingForShim();
if (missing !== null) process.stdout.write(`skipped: custom key stores: ${missing}\n`);

const clusterOf = (name: string): string => cloudHsmClusterIdOf(account, name);
const [pinLocked, pinIncorrect, pinNotInitialized] = [0xa4, 0xa0, 0x102];

describe.skipIf(missing !== null)('Custom key stores', () => {
  let hsms: CustomHsms;
  let folder: string;
  let token: TestToken;
  let nss: TestToken;
  let shim: Shim;
  let instance: InstanceOfStores;
  let certificate: string;
  let id: string;
  let keyId: string;

  beforeAll(async () => {
    hsms = await startCustomHsms();
    ({ folder, token, nss, shim, instance, certificate } = hsms);
  });
  afterEach(() => shim.healAll());
  afterAll(() => hsms?.remove());

  const create = (members: Parameters<CustomHsms['wanted']>[0] = {}) =>
    instance.kms.createCustomKeyStore(hsms.wanted(members));
  const connect = () => instance.kms.connectCustomKeyStore({ CustomKeyStoreId: id });
  const disconnect = () =>
    instance.kms.disconnectCustomKeyStore({ CustomKeyStoreId: id }).then(() => until('DISCONNECTED'));
  const update = (members: object) => instance.kms.updateCustomKeyStore({ CustomKeyStoreId: id, ...members });
  const remove = (CustomKeyStoreId = id) => instance.kms.deleteCustomKeyStore({ CustomKeyStoreId });
  const told = () => hsms.told(id);
  const until = (state: string, errorCode?: string) => hsms.until(id, state, errorCode);
  const connected = () => connect().then(() => until('CONNECTED'));
  const withoutToken = (act: () => Promise<void>) => hsms.withoutToken(act);
  const inStore = () => ({ Origin: 'AWS_CLOUDHSM', CustomKeyStoreId: id }) as const;
  const stateOf = async (KeyId: string) => (await instance.kms.describeKey({ KeyId })).KeyMetadata?.KeyState;
  const encrypt = () => instance.kms.encrypt({ KeyId: keyId, Plaintext: Buffer.from('x') });
  const named = (name: string) => expect.objectContaining({ name });
  const backUpAs = (name: string) => backUp(instance.socket, join(folder, name));
  const rehearsed = (path: string) => rehearse(instance.configurationFile, path);
  const presented = () => hsms.presented();
  const invalidState = named('CustomKeyStoreInvalidStateException');

  test('are not made of what does not fit, and no refusal repeats the password', async () => {
    const xks = {
      CustomKeyStoreName: 'outside',
      CustomKeyStoreType: 'EXTERNAL_KEY_STORE',
      XksProxyUriEndpoint: 'https://xks.example.com',
      XksProxyUriPath: '/kms/xks/v1',
      XksProxyConnectivity: 'PUBLIC_ENDPOINT',
      XksProxyAuthenticationCredential: { AccessKeyId: 'A'.repeat(20), RawSecretAccessKey: 'canary-'.repeat(7) },
    } as const;
    const { kms } = instance;
    const unfit = [
      [create({ TrustAnchorCertificate: (await exampleIdentity()).authority }), 'IncorrectTrustAnchorException'],
      [create({ TrustAnchorCertificate: 'canary' }), 'IncorrectTrustAnchorException'],
      [create({ CloudHsmClusterId: 'cluster-1a23b4cdefg' }), 'CloudHsmClusterNotFoundException'],
      [create({ CloudHsmClusterId: clusterOf('default') }), 'CloudHsmClusterInvalidConfigurationException'],
      [create({ CloudHsmClusterId: undefined }), 'ValidationException'],
      [create({ CloudHsmClusterId: 'no-cluster-1a23b4cdefg' }), 'ValidationException'],
      [create({ TrustAnchorCertificate: undefined }), 'ValidationException'],
      [create({ KeyStorePassword: undefined }), 'ValidationException'],
      [create({ KeyStorePassword: 'canary' }), 'ValidationException'],
      [create({ KeyStorePassword: 'canary-'.repeat(5) }), 'ValidationException'],
      [kms.createCustomKeyStore(xks), 'UnsupportedOperationException'],
      [kms.createCustomKeyStore({ ...xks, XksProxyUriPath: '/elsewhere' }), 'ValidationException'],
      [
        kms.createCustomKeyStore({
          ...xks,
          XksProxyAuthenticationCredential: { AccessKeyId: 'A'.repeat(20), RawSecretAccessKey: 'canary' },
        }),
        'ValidationException',
      ],
    ] as const;
    heard(unfit.map(([request]) => request));
    for (const [request, name] of unfit) {
      const refused = await refusal(request);
      expect(refused).toEqual(named(name));
      expect(refused.message).not.toContain('canary');
    }
    await withoutToken(async () => {
      expect(await refusal(create())).toEqual(named('CloudHsmClusterNotActiveException'));
    });
    expect((await kms.describeCustomKeyStores({})).CustomKeyStores).toEqual([]);
    const CustomKeyStoreId = 'cks-1234567890abcdef0';
    for (const request of heard([
      kms.describeCustomKeyStores({ CustomKeyStoreId }),
      kms.describeCustomKeyStores({ CustomKeyStoreName: 'none' }),
      kms.connectCustomKeyStore({ CustomKeyStoreId }),
      kms.disconnectCustomKeyStore({ CustomKeyStoreId }),
      kms.updateCustomKeyStore({ CustomKeyStoreId, NewCustomKeyStoreName: 'x' }),
      kms.deleteCustomKeyStore({ CustomKeyStoreId }),
      kms.createKey({ Origin: 'AWS_CLOUDHSM', CustomKeyStoreId }),
    ]))
      expect(await refusal(request)).toEqual(named('CustomKeyStoreNotFoundException'));
  });

  test('are made disconnected, each with a name and an HSM of its own, and told by id, by name and all', async () => {
    const { kms } = instance;
    id = String((await create({ KeyStorePassword: 'not the PIN' })).CustomKeyStoreId);
    expect(id).toMatch(/^cks-[0-9a-f]{17}$/);
    const entry = {
      ...{ CustomKeyStoreId: id, CustomKeyStoreName: 'payments', CloudHsmClusterId: clusterOf('payments') },
      ...{ TrustAnchorCertificate: certificate, CustomKeyStoreType: 'AWS_CLOUDHSM' },
      ...{ ConnectionState: 'DISCONNECTED', CreationDate: expect.any(Date) },
    };
    for (const request of [{}, { CustomKeyStoreId: id }, { CustomKeyStoreName: 'payments' }])
      expect((await kms.describeCustomKeyStores(request)).CustomKeyStores).toEqual([entry]);
    const both = { CustomKeyStoreId: id, CustomKeyStoreName: 'payments' };
    expect(await refusal(kms.describeCustomKeyStores(both))).toEqual(named('ValidationException'));
    expect(await refusal(create())).toEqual(named('CustomKeyStoreNameInUseException'));
    const related = create({ CustomKeyStoreName: 'copy', CloudHsmClusterId: clusterOf('copy') });
    expect(await refusal(related)).toEqual(named('CloudHsmClusterInUseException'));
    expect(await refusal(kms.createKey(inStore()))).toEqual(invalidState);
    expect(await refusal(kms.generateRandom({ CustomKeyStoreId: id, NumberOfBytes: 8 }))).toEqual(invalidState);
    expect(await refusal(disconnect())).toEqual(invalidState);
  });

  test('present a password that is refused once, until there is another', async () => {
    const logins = shim.counting('C_Login');
    await Promise.all([connect(), connect(), connect()]);
    await until('FAILED', 'INVALID_CREDENTIALS');
    expect(logins()).toBe(1);
    for (const request of heard([connect(), remove(), update({ KeyStorePassword: token.pin })]))
      expect(await refusal(request)).toEqual(invalidState);
    await disconnect();
    expect(await told()).toEqual({ ConnectionState: 'DISCONNECTED' });
    await connect();
    await until('FAILED', 'INVALID_CREDENTIALS');
    await instance.restart();
    expect(await told()).toEqual({ ConnectionState: 'FAILED', ConnectionErrorCode: 'INVALID_CREDENTIALS' });
    expect(logins()).toBe(1);
    await disconnect();
    await update({ KeyStorePassword: token.pin });

    for (const [value, code] of [
      [pinLocked, 'USER_LOCKED_OUT'],
      [pinNotInitialized, 'USER_NOT_FOUND'],
    ] as const) {
      shim.fault('C_Login', `return ${value}`);
      await connect();
      await until('FAILED', code);
      shim.healAll();
      await disconnect();
      await update({ KeyStorePassword: token.pin });
    }
    expect(logins()).toBe(3);
  });

  test('are not connected where the token is gone, and can then be connected anew', async () => {
    await withoutToken(async () => {
      await connect();
      await until('FAILED', 'INSUFFICIENT_CLOUDHSM_HSMS');
    });
    await disconnect();
  });

  test('can be disconnected and not deleted while they connect, and what comes late changes nothing', async () => {
    shim.fault('C_Login', 'hold');
    await connect();
    expect(await told()).toEqual({ ConnectionState: 'CONNECTING' });
    await connect();
    for (const request of heard([remove(), update({ NewCustomKeyStoreName: 'x' }), instance.kms.createKey(inStore())]))
      expect(await refusal(request)).toEqual(invalidState);
    const disconnected = disconnect();
    await until('DISCONNECTING');
    shim.heal('C_Login');
    await disconnected;
    await remove();
    expect(await refusal(connect())).toEqual(named('CustomKeyStoreNotFoundException'));
    id = String((await create()).CustomKeyStoreId);
  });

  test('have keys while they are connected, which are unavailable while they are not', async () => {
    const { kms } = instance;
    await connected();
    const { KeyMetadata } = await kms.createKey(inStore());
    expect(KeyMetadata).toMatchObject({ ...inStore(), CloudHsmClusterId: clusterOf('payments'), KeyState: 'Enabled' });
    keyId = String(KeyMetadata?.KeyId);
    const { CiphertextBlob } = await encrypt();
    expect(
      await refusal(kms.createKey({ ...inStore(), KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' })),
    ).toEqual(named('UnsupportedOperationException'));
    expect((await kms.generateRandom({ CustomKeyStoreId: id, NumberOfBytes: 8 })).Plaintext).toHaveLength(8);
    await update({ NewCustomKeyStoreName: 'salaries' });
    for (const request of heard([update({ KeyStorePassword: token.pin }), remove()]))
      expect(await refusal(request)).toEqual(invalidState);

    await disconnect();
    expect(await stateOf(keyId)).toBe('Unavailable');
    for (const request of heard([encrypt(), kms.decrypt({ CiphertextBlob })]))
      expect(await refusal(request)).toEqual(named('KMSInvalidStateException'));
    expect(await refusal(kms.createKey(inStore()))).toEqual(invalidState);
    await connected();
    await kms.decrypt({ CiphertextBlob });
    const logins = shim.counting('C_Login');
    await instance.restart();
    await until('CONNECTED');
    expect(logins()).toBe(1);
    await instance.kms.decrypt({ CiphertextBlob });
    expect(await stateOf(keyId)).toBe('Enabled');
  });

  test('are opened by a rehearsal of a restore, by one login, and their HSM is not asked twice when it refuses', async () => {
    const backup = await backUpAs('connected.backup');
    await instance.stop();
    const found = (problem: RegExp) => {
      const about = { keyId, keyStore: id, wasAsked: false, worksElsewhere: false };
      return { proven: 0, problems: [{ ...about, problem: expect.stringMatching(problem) }] };
    };
    await withoutToken(async () => {
      expect(await rehearsed(backup)).toMatchObject(found(/^the custom key store `salaries` is away: /));
    });
    expect(presented()).toEqual([]);
    const logins = shim.counting('C_Login');
    shim.fault('C_Login', `return ${pinIncorrect}`);
    expect(await rehearsed(backup)).toMatchObject(found(/`salaries` could not be opened.*PIN refused/));
    shim.healAll();
    const [marker, ...others] = presented();
    expect(await rehearsed(backup)).toMatchObject(found(new RegExp(`was presented before.* remove .*${marker}`)));
    expect([others, logins()]).toEqual([[], 1]);
    rmSync(join(instance.folder, 'data', String(marker)));
    expect(await rehearsed(backup)).toMatchObject({ proven: 1, problems: [], orphans: [] });
    expect([presented(), logins()]).toEqual([[], 2]);
  });

  test('that lose their token are unavailable and connected, and come back by themselves', async () => {
    await instance.stop();
    await withoutToken(async () => {
      await instance.start();
      expect(await told()).toEqual({ ConnectionState: 'CONNECTING' });
      expect(await stateOf(keyId)).toBe('Unavailable');
      expect(await refusal(encrypt())).toEqual(named('KMSInvalidStateException'));
    });
    await until('CONNECTED');
    await encrypt();
  });

  test('whose PIN was changed fail after one attempt, and a restart makes none', async () => {
    const logins = shim.counting('C_Login');
    shim.fault('C_Login', `return ${pinIncorrect}`);
    shim.fault('C_EncryptInit', 'once crash');
    expect((await refusal(encrypt())).name).toBe('KMSInvalidStateException');
    await until('FAILED', 'INVALID_CREDENTIALS');
    await instance.restart();
    shim.healAll();
    expect(await told()).toEqual({ ConnectionState: 'FAILED', ConnectionErrorCode: 'INVALID_CREDENTIALS' });
    expect(await rehearsed(await backUpAs('refused.backup'))).toMatchObject({
      problems: [{ problem: expect.stringContaining('is not presented: the HSM had refused it'), wasAsked: false }],
    });
    expect(logins()).toBe(1);
    await disconnect();
    await update({ KeyStorePassword: token.pin, CloudHsmClusterId: clusterOf('copy') });
    await connected();
    await encrypt();
    const { KeyMetadata } = await instance.kms.describeKey({ KeyId: keyId });
    expect(KeyMetadata?.CloudHsmClusterId).toBe(clusterOf('copy'));
  });

  test('are related to no HSM with another certificate', async () => {
    await disconnect();
    const CloudHsmClusterId = clusterOf('ledger');
    expect(await refusal(update({ CloudHsmClusterId }))).toEqual(named('CloudHsmClusterNotRelatedException'));
    expect(await refusal(update({}))).toEqual(named('ValidationException'));
  });

  test('leave their password nowhere when they are connected, and are not tried again by a daemon that was killed while it connected', async () => {
    await instance.release();
    const args = [program, 'serve', '--config', instance.configurationFile];
    const daemon = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    daemon.stderr.on('data', (text: Buffer) => {
      said += text;
    });
    await vi.waitFor(() => expect(said).toContain('"ready"'), { timeout: 170_000, interval: 30 });
    instance.ask();
    await update({ KeyStorePassword: token.pin });
    await connected();
    await encrypt();
    for (const path of ['/status', `/status/keys/${keyId}`])
      said += (await send(instance.socket, { method: 'GET', path })).body;
    said += JSON.stringify(await instance.kms.describeCustomKeyStores({}));
    expect(formsOf(token.pin).filter((form) => said.includes(form))).toEqual([]);
    const pid = Number(daemon.pid);
    const hosts = childrenOf(pid);
    expect(hosts.length).toBeGreaterThan(1);
    expect([pid, ...hosts].filter((each) => startedWith(each, token.pin))).toEqual([]);
    if (process.getuid?.() === 0) expect(inCoreOf(pid, token.pin, id)).toEqual([id]);
    await disconnect();
    const logins = shim.counting('C_Login');
    shim.fault('C_Login', 'hang');
    await connect();
    await vi.waitFor(() => expect(logins()).toBe(1), { timeout: 170_000 });
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
    shim.healAll();
    await instance.start();
    await until('FAILED', 'INTERNAL_ERROR');
    expect(logins()).toBe(1);
    await disconnect();
    await connected();
    await encrypt();
  });

  test('are made, connected, used and deleted from the command line, over another token', async () => {
    const env = { PATH: process.env['PATH'] };
    const command = (...words: string[]) => promisify(execFile)(process.execPath, [program, ...words], { env });
    const run = async (...words: string[]) => (await command(...words, '--socket', instance.socket)).stdout.trim();
    const [pinFile, anchor] = [join(folder, 'nss-pin'), join(folder, 'other.crt')];
    writeFileSync(pinFile, `${nss.pin}\n`, { mode: 0o600 });
    const from = ['--hsm', 'ledger', '--trust-anchor', anchor, '--password-file', pinFile];
    const made = await run('key-stores', 'create', 'ledger', ...from);
    expect(await run('key-stores', 'connect', 'ledger')).toBe(`${made} is CONNECTED`);
    const arn = await run('keys', 'create', '--key-store', 'ledger');
    const { CiphertextBlob } = await instance.kms.encrypt({ KeyId: arn, Plaintext: Buffer.from('x') });
    await instance.kms.decrypt({ CiphertextBlob });
    expect(await run('key-stores', 'list')).toMatch(
      new RegExp(`${made} +ledger +${clusterOf('ledger')} +CONNECTED +-`),
    );
    expect(await run('status')).toMatch(new RegExp(`custom key store +ledger \\(${made}\\)\nstate +CONNECTED`));
    await run('key-stores', 'disconnect', 'ledger');
    writeFileSync(pinFile, 'not-the-pin\n');
    await run('key-stores', 'update', 'ledger', '--password-file', pinFile);
    await expect(run('key-stores', 'connect', 'ledger')).rejects.toThrow();
    expect(await run('status')).toMatch(/^next +the PIN is not presented again: `drawbridge key-stores disc/m);
    await expect(run('census')).rejects.toThrow(/failed \(INVALID_CREDENTIALS\), and is not looked at: the PIN/);
    await run('key-stores', 'disconnect', 'ledger');
    await expect(run('key-stores', 'delete', 'ledger')).rejects.toThrow(/CustomKeyStoreHasCMKsException/);
    expect(await run('census').catch((error: object) => error)).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^missing or not working +0\nnot asked, because their token is away +1$/m),
      stderr: `the custom key store \`${made}\` is disconnected, and not looked at: \`drawbridge key-stores connect ${made}\`\n`,
    });
    await instance.stop();
    const doctor = command('doctor', '--config', instance.configurationFile);
    const { stdout } = await doctor.catch((error: { stdout: string }) => error);
    expect(stdout).toMatch(new RegExp(`HSM \\(ledger\\) +ok +${clusterOf('ledger')}, for a custom key store`));
    await instance.start();
  });

  test('cannot be deleted while they have keys, also such as are pending deletion', async () => {
    const { kms } = instance;
    await kms.scheduleKeyDeletion({ KeyId: keyId, PendingWindowInDays: 7 });
    await disconnect();
    expect(await stateOf(keyId)).toBe('PendingDeletion');
    expect(await refusal(remove())).toEqual(named('CustomKeyStoreHasCMKsException'));
    const moveBy = 'UPDATE backing_key SET ordinal = ordinal + ? WHERE key_store = ?';
    await instance.edit(moveBy, 1, id);
    expect((await refusal(remove())).message).toMatch(/does not verify, and may be in the custom key store/);
    await instance.edit(moveBy, -1, id);
  });

  test('keep their password from log, audit log and database, whatever became of it', () => {
    const pins = [token.pin, 'not the PIN'];
    const texts = filesIn(instance.folder).map((path) => [path, readFileSync(path)] as const);
    expect(texts.length).toBeGreaterThan(3);
    for (const pin of pins) {
      expect(instance.logged.filter((line) => line.includes(pin))).toEqual([]);
      for (const form of formsOf(pin))
        expect(texts.filter(([, text]) => text.includes(form)).map(([path]) => path)).toEqual([]);
    }
  });

  test('are on record with name and cluster wherever an id named them, and with what their keys are used for', () => {
    const events = auditLines(instance.folder);
    const on = (member: string, eventName: string, values: object) =>
      expect(events).toContainEqual(expect.objectContaining({ eventName, [member]: expect.objectContaining(values) }));
    const about = { customKeyStoreName: 'payments', clusterId: clusterOf('payments') };
    for (const act of ['Connect', 'Disconnect', 'Delete']) on('additionalEventData', `${act}CustomKeyStore`, about);
    on('requestParameters', 'CreateCustomKeyStore', about);
    on('requestParameters', 'UpdateCustomKeyStore', { customKeyStoreId: id, clusterId: clusterOf('copy') });
    on('additionalEventData', 'UpdateCustomKeyStore', { customKeyStoreName: 'salaries', clusterId: clusterOf('copy') });
    for (const use of ['Encrypt', 'Decrypt', 'ScheduleKeyDeletion'])
      on('additionalEventData', use, { customKeyStoreId: id });
  });
});
