/**
 * What programs that manage keys send, in their order: terraform-provider-aws, Ansible's `kms_key` and SPIRE's key manager, read
 * in their public sources (`internal/service/kms`, `plugins/modules/kms_key.py`, `pkg/server/plugin/keymanager/awskms`), sent by
 * the SDK.
 */

import { randomBytes } from 'node:crypto';
import { type KeyMetadata, type KMS, paginateListAliases, type Tag } from '@aws-sdk/client-kms';
import { expect, test } from 'vitest';
import { aliasArn, rootArn } from './support/arns.ts';
import { describeDaemon, present } from './support/daemon.ts';
import { wrapped } from './support/imports.ts';
import { allow, policy } from './support/policies.ts';
import { refusal } from './support/refusals.ts';

const tag = (TagKey: string, TagValue: string): Tag => ({ TagKey, TagValue });

describeDaemon('The calls of', (daemon) => {
  const metadataOf = async (KeyId: string): Promise<KeyMetadata> =>
    present((await daemon().kms.describeKey({ KeyId })).KeyMetadata);

  /** What Terraform reads of each `aws_kms_key`, whatever its KeySpec. */
  async function terraformReads(kms: KMS, KeyId: string) {
    const metadata = await metadataOf(KeyId);
    const { Policy } = await kms.getKeyPolicy({ KeyId, PolicyName: 'default' });
    const rotation = await kms.getKeyRotationStatus({ KeyId });
    const { Tags, Truncated } = await kms.listResourceTags({ KeyId });
    expect(Truncated).toBe(false);
    return { metadata, policy: JSON.parse(present(Policy)), rotates: rotation.KeyRotationEnabled, tags: Tags };
  }

  test('Terraform make, read, change and destroy an aws_kms_external_key', async () => {
    const { kms } = daemon();
    const created = await kms.createKey({
      BypassPolicyLockoutSafetyCheck: false,
      KeyUsage: 'ENCRYPT_DECRYPT',
      Origin: 'EXTERNAL',
      Tags: [tag('Name', 'brought')],
    });
    const KeyId = present(created.KeyMetadata?.KeyId);
    // Disabled is what it can be only after the import.
    expect(await refusal(kms.disableKey({ KeyId }))).toMatchObject({
      name: 'KMSInvalidStateException',
      message: `${created.KeyMetadata?.Arn} is pending import.`,
    });
    const material = randomBytes(32);
    const importIt = async (choice: object): Promise<void> => {
      const wrapping = { WrappingAlgorithm: 'RSAES_OAEP_SHA_256', WrappingKeySpec: 'RSA_2048' } as const;
      const { PublicKey, ImportToken } = await kms.getParametersForImport({ KeyId, ...wrapping });
      const EncryptedKeyMaterial = wrapped({ ...wrapping, publicKey: present(PublicKey) }, material);
      await kms.importKeyMaterial({ KeyId, ImportToken, EncryptedKeyMaterial, ...choice });
    };
    await importIt({ ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' });
    expect(await terraformReads(kms, KeyId)).toMatchObject({
      metadata: {
        KeyManager: 'CUSTOMER',
        Origin: 'EXTERNAL',
        ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE',
        KeyState: 'Enabled',
      },
      rotates: false,
      tags: [tag('Name', 'brought')],
    });

    // Another valid_to is another import.
    const ValidTo = new Date((Math.floor(Date.now() / 1000) + 24 * 60 * 60) * 1000);
    await importIt({ ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo });
    expect(await metadataOf(KeyId)).toMatchObject({ ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo });
    await kms.disableKey({ KeyId });
    expect(await metadataOf(KeyId)).toMatchObject({ KeyState: 'Disabled', ValidTo });
    await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    expect((await metadataOf(KeyId)).KeyState).toBe('PendingDeletion');
  });

  test.each([
    ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT'],
    ['ECC_NIST_P256', 'SIGN_VERIFY'],
    ['HMAC_256', 'GENERATE_VERIFY_MAC'],
  ] as const)('Terraform make, read, change and destroy an aws_kms_key of %s', async (KeySpec, KeyUsage) => {
    const { kms } = daemon();
    const Policy = policy(allow(rootArn, 'kms:*'));
    const created = await kms.createKey({
      BypassPolicyLockoutSafetyCheck: false,
      CustomerMasterKeySpec: KeySpec,
      KeyUsage,
      Policy,
      Tags: [tag('Name', 'one'), tag('env', 'test')],
    });
    const KeyId = present(created.KeyMetadata?.KeyId);
    await kms.disableKey({ KeyId });
    expect((await metadataOf(KeyId)).Enabled).toBe(false);
    expect(await terraformReads(kms, KeyId)).toMatchObject({
      metadata: {
        KeyState: 'Disabled',
        KeySpec,
        CustomerMasterKeySpec: KeySpec,
        Origin: 'AWS_KMS',
        MultiRegion: false,
      },
      policy: JSON.parse(Policy),
      rotates: false,
      tags: [tag('Name', 'one'), tag('env', 'test')],
    });

    // An update: enable first, disable last.
    await kms.enableKey({ KeyId });
    await kms.updateKeyDescription({ KeyId, Description: 'changed' });
    expect((await metadataOf(KeyId)).Description).toBe('changed');
    const wider = policy(allow(rootArn, 'kms:*'), allow(rootArn, 'kms:List*'));
    await kms.putKeyPolicy({ KeyId, Policy: wider, PolicyName: 'default', BypassPolicyLockoutSafetyCheck: false });
    await kms.untagResource({ KeyId, TagKeys: ['env'] });
    await kms.tagResource({ KeyId, Tags: [tag('Name', 'two')] });
    expect(await terraformReads(kms, KeyId)).toMatchObject({
      metadata: { KeyState: 'Enabled', Description: 'changed' },
      policy: JSON.parse(wider),
      tags: [tag('Name', 'two')],
    });

    await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    expect((await metadataOf(KeyId)).KeyState).toBe('PendingDeletion');
    // A second run of destroy takes this for done, by these words.
    const again = await refusal(kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 }));
    expect(again.name).toBe('KMSInvalidStateException');
    expect(again.message).toContain('is pending deletion');
    expect(await terraformReads(kms, KeyId)).toMatchObject({ rotates: false, tags: [tag('Name', 'two')] });
  });

  test('Terraform make an aws_kms_key that rotates, read it, change its period, and stop it', async () => {
    const { kms } = daemon();
    const created = await kms.createKey({ BypassPolicyLockoutSafetyCheck: false, KeyUsage: 'ENCRYPT_DECRYPT' });
    const KeyId = present(created.KeyMetadata?.KeyId);
    await kms.enableKeyRotation({ KeyId, RotationPeriodInDays: 180 });
    expect(await kms.getKeyRotationStatus({ KeyId })).toMatchObject({
      KeyRotationEnabled: true,
      RotationPeriodInDays: 180,
    });
    // It is enabled again with another period, and waits until it reads both.
    await kms.enableKeyRotation({ KeyId, RotationPeriodInDays: 400 });
    expect(await kms.getKeyRotationStatus({ KeyId })).toMatchObject({
      KeyRotationEnabled: true,
      RotationPeriodInDays: 400,
    });
    await kms.disableKeyRotation({ KeyId });
    expect((await terraformReads(kms, KeyId)).rotates).toBe(false);
  });

  test('SPIRE rotate a signing key, keep its alias fresh and delete the old key', async () => {
    const { kms } = daemon();
    const AliasName = 'alias/SPIRE_SERVER/example_org/server-1/x509-CA-A';
    const makeKey = async (): Promise<string> => {
      const { KeyMetadata } = await kms.createKey({
        CustomerMasterKeySpec: 'ECC_NIST_P256',
        KeyUsage: 'SIGN_VERIFY',
        Description: 'SPIRE_SERVER_KEY/example_org',
      });
      const KeyId = present(KeyMetadata?.KeyId);
      await kms.getPublicKey({ KeyId });
      return KeyId;
    };
    const first = await makeKey();
    await kms.createAlias({ AliasName, TargetKeyId: first });
    const second = await makeKey();
    await kms.updateAlias({ AliasName, TargetKeyId: second });
    await kms.scheduleKeyDeletion({ KeyId: first, PendingWindowInDays: 7 });
    expect((await refusal(kms.scheduleKeyDeletion({ KeyId: first, PendingWindowInDays: 7 }))).name).toBe(
      'KMSInvalidStateException',
    );

    // When it starts again.
    const own = (await kms.listAliases({ Limit: 100 })).Aliases?.find((alias) => alias.AliasName === AliasName);
    expect(own?.TargetKeyId).toBe(second);
    expect(await metadataOf(aliasArn(AliasName))).toMatchObject({
      KeyId: second,
      Enabled: true,
      CustomerMasterKeySpec: 'ECC_NIST_P256',
    });
    await kms.getPublicKey({ KeyId: aliasArn(AliasName) });

    // Every six hours, so that it is not taken for abandoned; then it is.
    await new Promise((resolve) => setTimeout(resolve, 2));
    await kms.updateAlias({ AliasName, TargetKeyId: second });
    const renewed = (await kms.listAliases({ KeyId: second, Limit: 1 })).Aliases?.[0];
    expect(present(renewed?.LastUpdatedDate).getTime()).toBeGreaterThan(present(own?.LastUpdatedDate).getTime());
    for (const { KeyId } of present((await kms.listKeys({ Limit: 1000 })).Keys)) await metadataOf(present(KeyId));
    await kms.deleteAlias({ AliasName });
    await kms.scheduleKeyDeletion({ KeyId: second, PendingWindowInDays: 7 });
    expect((await kms.listAliases({ KeyId: second, Limit: 1 })).Aliases).toEqual([]);
  });

  /** What Ansible reads of a key before and after each change, by its ARN. */
  async function ansibleReads(kms: KMS, KeyId: string) {
    const metadata = await metadataOf(KeyId);
    const aliases: string[] = [];
    for await (const page of paginateListAliases({ client: kms }, {})) {
      for (const { AliasName = '', TargetKeyId } of page.Aliases ?? []) {
        if (TargetKeyId === metadata.KeyId) aliases.push(AliasName);
      }
    }
    const { KeyRotationEnabled } = await kms.getKeyRotationStatus({ KeyId });
    const { Grants } = await kms.listGrants({ KeyId });
    const { Tags } = await kms.listResourceTags({ KeyId });
    const { PolicyNames } = await kms.listKeyPolicies({ KeyId });
    const policies = await Promise.all(
      present(PolicyNames).map(async (PolicyName) =>
        JSON.parse((await kms.getKeyPolicy({ KeyId, PolicyName })).Policy ?? ''),
      ),
    );
    const { KeyState: state, Description: description } = metadata;
    return { state, description, aliases, rotates: KeyRotationEnabled, grants: Grants, tags: Tags, policies };
  }

  test('Ansible make, change, delete and bring back a kms_key', async () => {
    const { kms } = daemon();
    const AliasName = 'alias/ansible';
    expect((await refusal(kms.describeKey({ KeyId: AliasName }))).name).toBe('NotFoundException');
    const Policy = policy(allow(rootArn, 'kms:*'));
    const { KeyMetadata } = await kms.createKey({
      ...{
        BypassPolicyLockoutSafetyCheck: false,
        KeyUsage: 'ENCRYPT_DECRYPT',
        CustomerMasterKeySpec: 'SYMMETRIC_DEFAULT',
      },
      ...{ Origin: 'AWS_KMS', Description: 'made', Policy, Tags: [tag('a', '1'), tag('b', '2')] },
    });
    const KeyId = present(KeyMetadata?.Arn);
    expect(await ansibleReads(kms, present(KeyMetadata?.KeyId))).toMatchObject({
      state: 'Enabled',
      aliases: [],
      rotates: false,
    });
    await kms.createAlias({ TargetKeyId: KeyId, AliasName });
    await kms.enableKeyRotation({ KeyId });
    const grant = { GranteePrincipal: `${rootArn.replace(':root', ':user/ansible')}`, Name: 'one' };
    await kms.createGrant({
      KeyId,
      ...grant,
      Operations: ['Encrypt'],
      Constraints: { EncryptionContextSubset: { a: 'b' } },
    });
    const made = await ansibleReads(kms, KeyId);
    expect(made).toMatchObject({
      ...{ state: 'Enabled', description: 'made', aliases: [AliasName], rotates: true },
      grants: [{ ...grant, Operations: ['Encrypt'], Constraints: { EncryptionContextSubset: { a: 'b' } } }],
      ...{ tags: [tag('a', '1'), tag('b', '2')], policies: [JSON.parse(Policy)] },
    });

    // The same again changes nothing: it is found by its alias, and is what it is to be.
    expect((await kms.describeKey({ KeyId: AliasName })).KeyMetadata?.Arn).toBe(KeyId);
    expect(await ansibleReads(kms, KeyId)).toEqual(made);

    await kms.disableKey({ KeyId });
    await kms.updateKeyDescription({ KeyId, Description: 'changed' });
    await kms.untagResource({ KeyId, TagKeys: ['b'] });
    await kms.tagResource({ KeyId, Tags: [tag('a', '3')] });
    await kms.retireGrant({ KeyId, GrantId: present(made.grants?.[0]?.GrantId) });
    expect(await ansibleReads(kms, KeyId)).toMatchObject({
      ...{ state: 'Disabled', description: 'changed', grants: [], tags: [tag('a', '3')], rotates: true },
    });

    await kms.scheduleKeyDeletion({ KeyId });
    expect(await ansibleReads(kms, KeyId)).toMatchObject({ state: 'PendingDeletion', rotates: false });
    // Present again: the deletion is cancelled first, then the key is enabled, and it rotates as before.
    await kms.cancelKeyDeletion({ KeyId });
    await kms.enableKey({ KeyId });
    expect(await ansibleReads(kms, KeyId)).toMatchObject({ state: 'Enabled', aliases: [AliasName], rotates: true });
    await kms.disableKeyRotation({ KeyId });
    expect(await ansibleReads(kms, KeyId)).toMatchObject({ rotates: false });
  });
});
