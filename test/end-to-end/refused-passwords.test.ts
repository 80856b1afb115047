/** Passwords of custom key stores that an HSM refuses, or of which nobody knows what it said: how often they are presented. Logins are counted by a shim. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { parse, stringify } from 'yaml';
import { cloudHsmClusterIdOf } from '../../src/kms/cluster-id.ts';
import { account, type InstanceOfStores } from '../daemon/instance-of-stores.ts';
import { missingForShim, type Shim } from '../support/pkcs11-shim.ts';
import { program } from '../support/program.ts';
import { nssSoftoken, softHsm2 } from '../support/tokens.ts';
import { type CustomHsms, startCustomHsms } from './support/custom-hsms.ts';
import { refusal } from './support/refusals.ts';
import { backUp, rehearse } from './support/rehearsals.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing ?? missingForShim();
if (missing !== null) process.stdout.write(`skipped: refused passwords: ${missing}\n`);

const clusterOf = (name: string): string => cloudHsmClusterIdOf(account, name);
const pinIncorrect = 0xa0;

describe.skipIf(missing !== null)('The password of a custom key store', () => {
  let hsms: CustomHsms;
  let instance: InstanceOfStores;
  let shim: Shim;
  let id: string;

  beforeAll(async () => {
    hsms = await startCustomHsms();
    ({ instance, shim } = hsms);
    id = String((await instance.kms.createCustomKeyStore(hsms.wanted({}))).CustomKeyStoreId);
    await connect();
    await until('CONNECTED');
    // So that a rehearsal has something to look for in it.
    await instance.kms.createKey({ Origin: 'AWS_CLOUDHSM', CustomKeyStoreId: id });
  });
  afterEach(() => shim.healAll());
  afterAll(() => hsms?.remove());

  const connect = () => instance.kms.connectCustomKeyStore({ CustomKeyStoreId: id });
  const disconnect = () =>
    instance.kms.disconnectCustomKeyStore({ CustomKeyStoreId: id }).then(() => until('DISCONNECTED'));
  const update = (members: object) => instance.kms.updateCustomKeyStore({ CustomKeyStoreId: id, ...members });
  const until = (state: string, errorCode?: string) => hsms.until(id, state, errorCode);
  const presented = () => hsms.presented();

  /** Starts a daemon, and kills it when it has presented the password, and nobody knows yet what the token says. */
  async function killWhileItLogsIn(logins: () => number): Promise<void> {
    const before = logins();
    // Its host goes on when the fault ends, and ends then, since nobody hears it.
    shim.fault('C_Login', 'hold');
    const args = [program, 'serve', '--config', instance.configurationFile];
    const daemon = spawn(process.execPath, args, { stdio: 'ignore' });
    await vi.waitFor(() => expect(logins()).toBe(before + 1), { timeout: 170_000, interval: 20 });
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
    shim.healAll();
  }

  test('is what tells a repeated request for a store from another one, and is not guessed more than five times', async () => {
    const { kms } = instance;
    const TrustAnchorCertificate = readFileSync(join(hsms.folder, 'other.crt'), 'utf8');
    const KeyStorePassword = 'as it happens';
    const named = { CustomKeyStoreName: 'ledger', CloudHsmClusterId: clusterOf('ledger'), TrustAnchorCertificate };
    const create = (members: object = {}) => kms.createCustomKeyStore({ ...named, KeyStorePassword, ...members });
    const inUse = { name: 'CustomKeyStoreNameInUseException' };
    const together = await Promise.all(Array.from({ length: 16 }, () => create()));
    const made = together.map(({ CustomKeyStoreId: one }) => one);
    const [CustomKeyStoreId] = made;
    expect(CustomKeyStoreId).toMatch(/^cks-/);
    expect(new Set(made).size).toBe(1);
    const anchor = { TrustAnchorCertificate: `${TrustAnchorCertificate}\n` };
    for (const members of [{}, { CustomKeyStoreType: 'AWS_CLOUDHSM' }, anchor])
      expect((await create(members)).CustomKeyStoreId).toBe(CustomKeyStoreId);
    expect((await kms.describeCustomKeyStores({})).CustomKeyStores).toHaveLength(2);
    for (const members of [
      { CloudHsmClusterId: clusterOf('copy') },
      { TrustAnchorCertificate: hsms.certificate },
      ...Array.from({ length: 5 }, (_, index) => ({ KeyStorePassword: `a guess ${index}` })),
      // By now nobody is told any more.
      {},
    ])
      expect(await refusal(create(members)), JSON.stringify(members)).toMatchObject(inUse);
    await kms.updateCustomKeyStore({ CustomKeyStoreId, KeyStorePassword: 'another one' });
    expect((await create({ KeyStorePassword: 'another one' })).CustomKeyStoreId).toBe(CustomKeyStoreId);
    // One that is connected, as `payments` is, is no store that somebody is just making.
    expect(await refusal(kms.createCustomKeyStore(hsms.wanted({})))).toMatchObject(inUse);
    await kms.deleteCustomKeyStore({ CustomKeyStoreId });
  });

  test('is presented once to an HSM whose PIN was changed, though each daemon is killed before it knows of the refusal', async () => {
    await instance.release();
    const logins = shim.counting('C_Login');
    await killWhileItLogsIn(logins);
    shim.fault('C_Login', `return ${pinIncorrect}`);
    for (let start = 0; start < 2; start++) {
      await instance.start();
      await until('FAILED', 'INTERNAL_ERROR');
      await instance.release();
    }
    expect(logins()).toBe(1);
    expect(presented()).toHaveLength(1);
    shim.healAll();
    await instance.start();
    await disconnect();
    await connect();
    await until('CONNECTED');
    expect([logins(), presented()]).toEqual([2, []]);
  });

  test('is presented by the next daemon where the one that was killed waited for a token that was not there', async () => {
    await instance.release();
    await hsms.withoutToken(async () => {
      const args = [program, 'serve', '--config', instance.configurationFile];
      const daemon = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
      let said = '';
      daemon.stderr.on('data', (text: Buffer) => {
        said += text;
      });
      await vi.waitFor(() => expect(said).toContain('no token has'), { timeout: 170_000, interval: 20 });
      await vi.waitFor(() => expect(presented()).toEqual([]), { timeout: 20_000, interval: 20 });
      daemon.kill('SIGKILL');
      await once(daemon, 'exit');
    });
    await instance.start();
    await until('CONNECTED');
  });

  test('is presented by the next daemon where a rehearsal had no library of the HSM to give it to', async () => {
    const backup = await backUp(instance.socket, join(hsms.folder, 'no-library.backup'));
    await instance.stop();
    const [config, profile] = ['no-library.yaml', 'no-library-profile.yaml'].map((name) => join(hsms.folder, name)) as [
      string,
      string,
    ];
    const vendors = new URL('../../native-config/vendors/', import.meta.url);
    const known = readFileSync(new URL(`${hsms.token.profile}.yaml`, vendors), 'utf8');
    writeFileSync(profile, known.replace(/^libraries:\n(?: {2}- .*\n)+/m, 'libraries:\n  - /not/installed.so\n'));
    const written = parse(readFileSync(instance.configurationFile, 'utf8'));
    delete written.keyStores.payments.library;
    written.keyStores.payments.profile = profile;
    writeFileSync(config, stringify(written), { mode: 0o600 });
    const { problems } = await rehearse(config, backup);
    expect(problems).toMatchObject([{ problem: expect.stringContaining('/not/installed.so'), wasAsked: false }]);
    expect(presented()).toEqual([]);
    await instance.start();
    await until('CONNECTED');
  });

  test('is not presented by a daemon that starts after a rehearsal in which the HSM refused it', async () => {
    const backup = await backUp(instance.socket, join(hsms.folder, 'connected.backup'));
    await instance.stop();
    const logins = shim.counting('C_Login');
    shim.fault('C_Login', `return ${pinIncorrect}`);
    await rehearse(instance.configurationFile, backup);
    await instance.start();
    await until('FAILED', 'INTERNAL_ERROR');
    expect(logins()).toBe(1);
    shim.healAll();
    await disconnect();
    await connect();
    await until('CONNECTED');
  });

  test('is given again and again by many at once, and its HSM is looked for by one process', async () => {
    await disconnect();
    const looks = shim.counting('C_Initialize');
    shim.fault('C_Initialize', 'delay 300');
    const given = { KeyStorePassword: hsms.token.pin, CloudHsmClusterId: clusterOf('payments') };
    await Promise.all(Array.from({ length: 16 }, () => update(given)));
    expect(looks()).toBeLessThanOrEqual(2);
    shim.healAll();
    await connect();
    await until('CONNECTED');
  });

  test('stays refused while the store goes to a related HSM and back, and is given again, until there is another', async () => {
    await disconnect();
    const logins = shim.counting('C_Login');
    shim.fault('C_Login', `return ${pinIncorrect}`);
    await connect();
    await until('FAILED', 'INVALID_CREDENTIALS');
    await disconnect();
    shim.healAll();
    for (const way of [
      () =>
        update({ CloudHsmClusterId: clusterOf('copy') }).then(() =>
          update({ CloudHsmClusterId: clusterOf('payments') }),
        ),
      () => update({ KeyStorePassword: hsms.token.pin }),
      () => update({ KeyStorePassword: hsms.token.pin, CloudHsmClusterId: clusterOf('payments') }),
      () => update({ NewCustomKeyStoreName: 'salaries' }),
    ]) {
      await way();
      await connect();
      await until('FAILED', 'INVALID_CREDENTIALS');
      await disconnect();
    }
    expect(logins()).toBe(1);
    await instance.restart();

    await update({ CloudHsmClusterId: clusterOf('copy') });
    await connect();
    await until('CONNECTED');
    await disconnect();
    await update({ CloudHsmClusterId: clusterOf('payments') });
    await connect();
    await until('FAILED', 'INVALID_CREDENTIALS');
    expect(logins()).toBe(2);
    await disconnect();
    await update({ KeyStorePassword: 'another one' });
    await update({ KeyStorePassword: hsms.token.pin });
    await connect();
    await until('CONNECTED');
    expect(logins()).toBe(3);
  });
});
