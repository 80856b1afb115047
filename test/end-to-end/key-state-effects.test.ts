/** What the state of a key does to everything else that is asked of it: the developer guide's page on key states, by its rows. */

import { beforeAll, expect, test } from 'vitest';
import { unixUserArn } from './support/arns.ts';
import { describeDaemon, newKey, newKeyOf, present } from './support/daemon.ts';
import { newGrant } from './support/grants.ts';
import { policy, rootMayAll } from './support/policies.ts';
import { dryRunSucceeded, heard, refusal, refused } from './support/refusals.ts';

const Plaintext = Buffer.from('of a key with a life');
const disabled = (arn: string) => refused('DisabledException', `${arn} is disabled.`);
const pendingDeletion = (arn: string) => refused('KMSInvalidStateException', `${arn} is pending deletion.`);

describeDaemon('The state of a key', (daemon) => {
  interface Key {
    readonly id: string;
    readonly arn: string;
    readonly blob: Uint8Array;
  }
  let healthy: Key;
  const keyWithBlob = async (): Promise<Key> => {
    const { kms } = daemon();
    const key = await newKey(kms);
    const { CiphertextBlob } = await kms.encrypt({ KeyId: key.id, Plaintext });
    return { ...key, blob: present(CiphertextBlob) };
  };
  beforeAll(async () => {
    healthy = await keyWithBlob();
  });

  const uses = ({ id, blob }: Key, DryRun?: boolean) => {
    const { kms } = daemon();
    const GranteePrincipal = unixUserArn('nobody');
    return {
      Encrypt: () => kms.encrypt({ KeyId: id, Plaintext, DryRun }),
      Decrypt: () => kms.decrypt({ CiphertextBlob: blob, DryRun }),
      'Decrypt by key': () => kms.decrypt({ CiphertextBlob: blob, KeyId: id, DryRun }),
      'ReEncrypt away': () => kms.reEncrypt({ CiphertextBlob: blob, DestinationKeyId: healthy.id, DryRun }),
      'ReEncrypt to': () => kms.reEncrypt({ CiphertextBlob: healthy.blob, DestinationKeyId: id, DryRun }),
      GenerateDataKey: () => kms.generateDataKey({ KeyId: id, KeySpec: 'AES_256', DryRun }),
      GenerateDataKeyWithoutPlaintext: () =>
        kms.generateDataKeyWithoutPlaintext({ KeyId: id, KeySpec: 'AES_256', DryRun }),
      GenerateDataKeyPair: () => kms.generateDataKeyPair({ KeyId: id, KeyPairSpec: 'ECC_NIST_P256', DryRun }),
      CreateGrant: () => kms.createGrant({ KeyId: id, GranteePrincipal, Operations: ['Decrypt'], DryRun }),
    };
  };

  test.each([
    ['disabled', (key: Key) => daemon().kms.disableKey({ KeyId: key.id }), disabled],
    ['pending deletion', (key: Key) => daemon().kms.scheduleKeyDeletion({ KeyId: key.id }), pendingDeletion],
  ] as const)('refuses every use of a key that is %s, dry runs too', async (_, change, expected) => {
    const key = await keyWithBlob();
    for (const [name, use] of Object.entries(uses(key, true))) {
      expect([name, await refusal(use())]).toEqual([name, dryRunSucceeded]);
    }
    await change(key);
    for (const DryRun of [false, true]) {
      for (const [name, use] of Object.entries(uses(key, DryRun))) {
        expect([name, await refusal(use())]).toEqual([name, expected(key.arn)]);
      }
    }
  });

  test('of an old ciphertext lets it be opened again when the key is enabled', async () => {
    const { kms } = daemon();
    const key = await keyWithBlob();
    await kms.scheduleKeyDeletion({ KeyId: key.id });
    await kms.cancelKeyDeletion({ KeyId: key.id });
    expect(await refusal(kms.decrypt({ CiphertextBlob: key.blob }))).toEqual(disabled(key.arn));
    await kms.enableKey({ KeyId: key.id });
    const opened = await kms.decrypt({ CiphertextBlob: key.blob });
    expect(Buffer.from(present(opened.Plaintext))).toEqual(Plaintext);
    for (const use of Object.values(uses(key))) await use();
  });

  test('is no obstacle to reading, whatever it is', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    const reads = () => [
      kms.describeKey({ KeyId: key.id }),
      kms.getKeyPolicy({ KeyId: key.id }),
      kms.listKeyPolicies({ KeyId: key.id }),
      kms.listAliases({ KeyId: key.id }),
      kms.listGrants({ KeyId: key.id }),
      kms.listResourceTags({ KeyId: key.id }),
      kms.getKeyRotationStatus({ KeyId: key.id }),
      kms.listKeyRotations({ KeyId: key.id }),
    ];
    await kms.disableKey({ KeyId: key.id });
    await Promise.all(reads());
    await kms.scheduleKeyDeletion({ KeyId: key.id });
    await Promise.all(reads());
  });

  test('that is disabled lets a key be described, tagged, named and deleted', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    await kms.disableKey({ KeyId: key.id });
    await kms.updateKeyDescription({ KeyId: key.id, Description: 'x' });
    await kms.tagResource({ KeyId: key.id, Tags: [{ TagKey: 'a', TagValue: '1' }] });
    await kms.untagResource({ KeyId: key.id, TagKeys: ['a'] });
    await kms.createAlias({ AliasName: 'alias/of-a-disabled-key', TargetKeyId: key.id });
    await kms.createAlias({ AliasName: 'alias/to-a-disabled-key', TargetKeyId: healthy.id });
    await kms.updateAlias({ AliasName: 'alias/to-a-disabled-key', TargetKeyId: key.id });
    await kms.deleteAlias({ AliasName: 'alias/of-a-disabled-key' });
    await kms.putKeyPolicy({ KeyId: key.id, Policy: policy(rootMayAll) });
    await kms.scheduleKeyDeletion({ KeyId: key.id });
  });

  test('that is pending deletion leaves to an owner what takes away, and refuses what adds', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    await kms.tagResource({ KeyId: key.id, Tags: [{ TagKey: 'a', TagValue: '1' }] });
    for (const name of ['moves', 'goes']) {
      await kms.createAlias({ AliasName: `alias/that-${name}`, TargetKeyId: key.id });
    }
    await kms.createAlias({ AliasName: 'alias/that-comes', TargetKeyId: healthy.id });
    const revoked = await newGrant(kms, key.id, { Operations: ['Decrypt'] });
    const retired = await newGrant(kms, key.id, { Operations: ['Decrypt'] });
    await kms.scheduleKeyDeletion({ KeyId: key.id });

    for (const refusedNow of heard([
      kms.enableKey({ KeyId: key.id }),
      kms.disableKey({ KeyId: key.id }),
      kms.updateKeyDescription({ KeyId: key.id, Description: 'x' }),
      kms.tagResource({ KeyId: key.id, Tags: [{ TagKey: 'b', TagValue: '1' }] }),
      kms.untagResource({ KeyId: key.id, TagKeys: ['a'] }),
      kms.createAlias({ AliasName: 'alias/that-is-late', TargetKeyId: key.id }),
      kms.updateAlias({ AliasName: 'alias/that-comes', TargetKeyId: key.id }),
      kms.updateAlias({ AliasName: 'alias/that-moves', TargetKeyId: key.id }),
    ])) {
      expect(await refusal(refusedNow)).toEqual(pendingDeletion(key.arn));
    }
    expect((await kms.listResourceTags({ KeyId: key.id })).Tags).toEqual([{ TagKey: 'a', TagValue: '1' }]);

    await kms.updateAlias({ AliasName: 'alias/that-moves', TargetKeyId: healthy.id });
    await kms.deleteAlias({ AliasName: 'alias/that-goes' });
    expect((await kms.listAliases({ KeyId: key.id })).Aliases).toEqual([]);
    await kms.revokeGrant({ KeyId: key.id, GrantId: revoked.id });
    await kms.retireGrant({ KeyId: key.id, GrantId: retired.id });
    expect((await kms.listGrants({ KeyId: key.id })).Grants).toEqual([]);
    await kms.putKeyPolicy({ KeyId: key.id, Policy: policy(rootMayAll) });
  });

  test('follows the alias: its user is refused in the name of the key that it stands for', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    await kms.createAlias({ AliasName: 'alias/in-use', TargetKeyId: key.id });
    await kms.disableKey({ KeyId: key.id });
    expect(await refusal(kms.encrypt({ KeyId: 'alias/in-use', Plaintext }))).toEqual(disabled(key.arn));
    await kms.updateAlias({ AliasName: 'alias/in-use', TargetKeyId: healthy.id });
    expect((await kms.encrypt({ KeyId: 'alias/in-use', Plaintext })).KeyId).toBe(healthy.arn);
  });

  test('refuses signatures, MACs and public keys too', async () => {
    const { kms } = daemon();
    const pair = await newKeyOf(kms, 'ECC_NIST_P256', 'SIGN_VERIFY');
    const signed = { KeyId: pair.id, Message: Plaintext, SigningAlgorithm: 'ECDSA_SHA_256' } as const;
    const { Signature } = await kms.sign(signed);
    await kms.disableKey({ KeyId: pair.id });
    for (const use of [kms.sign(signed), kms.verify({ ...signed, Signature }), kms.getPublicKey({ KeyId: pair.id })]) {
      expect(await refusal(use)).toEqual(disabled(pair.arn));
    }
  });

  test('is not told to whoever may not use the key', async () => {
    const { kms } = daemon();
    const key = await newKey(
      kms,
      policy({ ...rootMayAll, Action: ['kms:DisableKey', 'kms:ScheduleKeyDeletion', 'kms:PutKeyPolicy'] }),
    );
    await kms.disableKey({ KeyId: key.id });
    expect((await refusal(kms.encrypt({ KeyId: key.id, Plaintext }))).name).toBe('AccessDeniedException');
    await kms.scheduleKeyDeletion({ KeyId: key.id });
    expect((await refusal(kms.encrypt({ KeyId: key.id, Plaintext }))).name).toBe('AccessDeniedException');
    expect((await refusal(kms.cancelKeyDeletion({ KeyId: key.id }))).name).toBe('AccessDeniedException');
  });
});
