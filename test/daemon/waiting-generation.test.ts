/** A key that takes the HSM long to generate, and everybody else: in order of answers, not of time. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { noIdentityPolicies, parseIdentityPolicies } from '../../src/authorization/identity-policies.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { rootArn } from '../../src/kms/names.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { UnverifiedRecords } from '../../src/store/record-source.ts';
import { alice, allow, policy, realm } from '../authorization/policies.ts';
import { describeEachShimmedToken } from '../support/pkcs11-shim.ts';
import { startService } from './kms-service.ts';

const actions = ['kms:CreateKey', 'kms:CreateAlias', 'kms:DescribeKey'];
const allowed = parseIdentityPolicies(
  [
    {
      name: 'alice.json',
      text: JSON.stringify({
        AttachedTo: [alice],
        PolicyDocument: { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: actions, Resource: '*' }] },
      }),
    },
  ],
  { realm, vocabulary: conditionVocabulary, idOfGroup: () => undefined },
);

describeEachShimmedToken('While the HSM generates a key', (token) => {
  test('changes of other keys are answered, and a generation that is given up leaves nothing', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-generation-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const auditFolder = join(folder, 'audit');
    const kms = await startService(token(), folder, { auditFolder, identityPolicies: () => allowed, lanes: 2 });
    onTestFinished(() => kms.close());
    const keyId = await kms.newKey();
    const { key: keys, backingKey: backingKeys } = await kms.store.load();
    const objectIds = async () => (await kms.keyStore.listKeys()).map(({ backingKeyId }) => backingKeyId).toSorted();
    const objects = await objectIds();

    const generations = token().counting('C_GenerateKeyPair');
    token().fault('C_GenerateKeyPair', 'hang');
    let isCreated = false;
    const created = kms.run('CreateKey', { KeySpec: 'RSA_4096', KeyUsage: 'SIGN_VERIFY' }).finally(() => {
      isCreated = true;
    });
    await expect.poll(generations).toBe(1);

    expect(await kms.run('CreateAlias', { AliasName: 'alias/meanwhile', TargetKeyId: keyId })).toMatchObject({
      ok: true,
    });
    const grant = { KeyId: keyId, GranteePrincipal: alice, Operations: ['Decrypt'] };
    expect(await kms.run('CreateGrant', grant)).toMatchObject({ ok: true });
    expect(isCreated).toBe(false);
    const intents = (await kms.store.load()).backingKey.filter(({ state }) => state === 'Creating');
    expect(intents).toMatchObject([{ owner: kms.store.nodeId }]);

    token().healAll();
    kms.keyStore.stopGenerating('the test has seen enough');
    expect(await created).toMatchObject({ ok: false, error: { name: 'KMSInternalException' } });
    const after = await kms.store.load();
    expect([after.key, after.backingKey]).toEqual([keys, backingKeys]);
    expect(await objectIds()).toEqual(objects);
  });

  test('and verifies records, a caller loses a permission, and is refused by what is true then', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-verified-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const revoked = new KmsError(
      'UnrecognizedClientException',
      'The security token included in the request is invalid.',
    );
    let policies = allowed;
    let refusal: KmsError | undefined;
    const options = { auditFolder: join(folder, 'audit'), identityPolicies: () => policies, refusal: () => refusal };
    const kms = await startService(token(), folder, options);
    onTestFinished(() => kms.close());
    const KeyId = await kms.newKey(policy(allow(rootArn(realm), 'kms:*')));
    const described = async (meanwhile: () => void) => {
      const verification = Promise.withResolvers<void>();
      vi.spyOn(kms.directory, 'findKey').mockImplementationOnce(() => {
        throw new UnverifiedRecords(verification.promise);
      });
      const answer = kms.run('DescribeKey', { KeyId });
      meanwhile();
      verification.resolve();
      return answer;
    };
    expect(await described(() => undefined)).toMatchObject({ ok: true });
    expect(
      await described(() => {
        refusal = revoked;
      }),
    ).toMatchObject({ ok: false, error: revoked });
    refusal = undefined;
    const denied = { ok: false, error: { name: 'AccessDeniedException' } };
    expect(
      await described(() => {
        policies = noIdentityPolicies;
      }),
    ).toMatchObject(denied);
  });
});
