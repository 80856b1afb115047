/** What requests about a custom key store that is connected, and about its keys, are answered: over one real token. */

import type { UpdateCustomKeyStoreCommandInput } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { cloudHsmClusterIdOf } from '../../src/kms/cluster-id.ts';
import { account, type InstanceOfStores } from '../daemon/instance-of-stores.ts';
import { missingForShim } from '../support/pkcs11-shim.ts';
import { nssSoftoken, softHsm2 } from '../support/tokens.ts';
import { type CustomHsms, startCustomHsms } from './support/custom-hsms.ts';
import { heard, refusal } from './support/refusals.ts';
import { send } from './support/wire.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing ?? missingForShim();
if (missing !== null) process.stdout.write(`skipped: requests about custom key stores: ${missing}\n`);

const [own, copy] = ['payments', 'copy'].map((name) => cloudHsmClusterIdOf(account, name));

describe.skipIf(missing !== null)('A custom key store that is connected', () => {
  let hsms: CustomHsms;
  let instance: InstanceOfStores;
  let id: string;

  beforeAll(async () => {
    hsms = await startCustomHsms();
    ({ instance } = hsms);
    id = String((await instance.kms.createCustomKeyStore(hsms.wanted({}))).CustomKeyStoreId);
    await instance.kms.connectCustomKeyStore({ CustomKeyStoreId: id });
    await hsms.until(id, 'CONNECTED');
  });
  afterAll(() => hsms?.remove());

  const update = (members: Partial<UpdateCustomKeyStoreCommandInput>) =>
    instance.kms.updateCustomKeyStore({ CustomKeyStoreId: id, ...members });
  const told = async () => (await instance.kms.describeCustomKeyStores({ CustomKeyStoreId: id })).CustomKeyStores?.[0];

  const hosts = async (): Promise<readonly number[]> => {
    const { body } = await send(instance.socket, { method: 'GET', path: '/status' });
    const { customKeyStores } = JSON.parse(body) as { customKeyStores: { token: { pids: number[] } }[] };
    return customKeyStores.flatMap(({ token: { pids } }) => pids);
  };

  test('gets another name, also where its HSM is named with it as Terraform does, and nothing else', async () => {
    await update({ NewCustomKeyStoreName: 'salaries', CloudHsmClusterId: own });
    expect(await told()).toMatchObject({ CustomKeyStoreName: 'salaries', ConnectionState: 'CONNECTED' });
    const KeyStorePassword = hsms.token.pin;
    for (const request of heard([
      update({ NewCustomKeyStoreName: 'wages', CloudHsmClusterId: copy }),
      update({ NewCustomKeyStoreName: 'wages', CloudHsmClusterId: own, KeyStorePassword }),
      update({ NewCustomKeyStoreName: 'wages', KeyStorePassword }),
      update({ CloudHsmClusterId: own }),
    ]))
      expect(await refusal(request)).toMatchObject({ name: 'CustomKeyStoreInvalidStateException' });
    expect(await told()).toMatchObject({ CustomKeyStoreName: 'salaries', CloudHsmClusterId: own });
  });

  test('has keys that make no data key pairs, and that no grant allows to', async () => {
    const { kms } = instance;
    const { KeyMetadata } = await kms.createKey({ Origin: 'AWS_CLOUDHSM', CustomKeyStoreId: id });
    const KeyId = String(KeyMetadata?.KeyId);
    const GranteePrincipal = `arn:aws:iam::${account}:user/unix/nobody`;
    expect(await refusal(kms.generateDataKeyPair({ KeyId, KeyPairSpec: 'ECC_NIST_P256' }))).toMatchObject({
      name: 'UnsupportedOperationException',
    });
    for (const pairs of ['GenerateDataKeyPair', 'GenerateDataKeyPairWithoutPlaintext'] as const)
      expect(await refusal(kms.createGrant({ KeyId, GranteePrincipal, Operations: ['Decrypt', pairs] }))).toEqual({
        name: 'ValidationException',
        message: `Operations [${pairs}] are not valid for a KMS key with origin AWS_CLOUDHSM.`,
      });
    const { GrantId } = await kms.createGrant({ KeyId, GranteePrincipal, Operations: ['GenerateDataKey', 'Decrypt'] });
    expect((await kms.listGrants({ KeyId })).Grants).toMatchObject([{ GrantId }]);
  });

  test('takes no key while its HSM is gone, which is not said to be for its connection', async () => {
    const { kms } = instance;
    const inStore = { Origin: 'AWS_CLOUDHSM', CustomKeyStoreId: id } as const;
    const KeyId = String((await kms.createKey(inStore)).KeyMetadata?.KeyId);
    const encrypt = () => kms.encrypt({ KeyId, Plaintext: Buffer.from('x') });
    await hsms.withoutToken(async () => {
      for (const pid of await hosts()) process.kill(pid, 'SIGKILL');
      await vi.waitFor(async () => expect(await hosts()).toEqual([]), { timeout: 60_000, interval: 20 });
      expect((await told())?.ConnectionState).toBe('CONNECTED');
      expect(await refusal(kms.createKey(inStore))).toEqual({
        name: 'CloudHsmClusterInvalidConfigurationException',
        message: `The CloudHSM cluster ${own} has no active HSM, which this operation needs.`,
      });
    });
    await vi.waitFor(encrypt, { timeout: 60_000, interval: 100 });
    await kms.createKey(inStore);
  });
});
