/** ReEncrypt: from one key or encryption context to another, without a plaintext. */

import { beforeAll, expect, test } from 'vitest';
import { aliasArn, keyArn, rootArn, unknownKeyId } from './support/arns.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { deny, policy, rootMayAll } from './support/policies.ts';
import {
  accessDenied,
  deniedByCiphertext,
  incorrectKey,
  invalid,
  invalidCiphertext,
  keyNotFound,
  problem,
  refusal,
} from './support/refusals.ts';
import { call, errorIn, json } from './support/wire.ts';

describeDaemon('ReEncrypt', (daemon) => {
  let source: { readonly id: string; readonly arn: string };
  let destination: { readonly id: string; readonly arn: string };
  let blob: Uint8Array;
  const old = { tenant: 'old' };
  const renewed = { tenant: 'new' };
  beforeAll(async () => {
    const { kms } = daemon();
    source = await newKey(kms);
    destination = await newKey(kms);
    await kms.createAlias({ AliasName: 'alias/source', TargetKeyId: source.id });
    await kms.createAlias({ AliasName: 'alias/destination', TargetKeyId: destination.id });
    const made = await kms.encrypt({ KeyId: source.id, Plaintext: Buffer.from('moved'), EncryptionContext: old });
    blob = present(made.CiphertextBlob);
  });

  test('a ciphertext goes to another key and another context, and the answer names all of it', async () => {
    const { kms } = daemon();
    const moved = await kms.reEncrypt({
      CiphertextBlob: blob,
      SourceEncryptionContext: old,
      DestinationKeyId: destination.id,
      DestinationEncryptionContext: renewed,
    });
    const materialOf = async (KeyId: string) => (await kms.describeKey({ KeyId })).KeyMetadata?.CurrentKeyMaterialId;
    expect(moved).toMatchObject({
      SourceKeyId: source.arn,
      KeyId: destination.arn,
      SourceEncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
      DestinationEncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
      SourceKeyMaterialId: await materialOf(source.id),
      DestinationKeyMaterialId: await materialOf(destination.id),
    });
    const CiphertextBlob = present(moved.CiphertextBlob);
    const opened = await kms.decrypt({ CiphertextBlob, EncryptionContext: renewed, KeyId: destination.id });
    expect(Buffer.from(present(opened.Plaintext)).toString()).toBe('moved');
    expect(await refusal(kms.decrypt({ CiphertextBlob, EncryptionContext: old }))).toEqual(invalidCiphertext);
    expect(await refusal(kms.decrypt({ CiphertextBlob, EncryptionContext: renewed, KeyId: source.id }))).toEqual(
      incorrectKey,
    );
    expect((await kms.decrypt({ CiphertextBlob: blob, EncryptionContext: old })).KeyId).toBe(source.arn);
  });

  test('an answer never holds the plaintext', async () => {
    const answer = json(
      await call(daemon().socket, 'ReEncrypt', {
        CiphertextBlob: Buffer.from(blob).toString('base64'),
        SourceEncryptionContext: old,
        DestinationKeyId: destination.id,
      }),
    );
    expect(Object.keys(answer)).not.toContain('Plaintext');
    expect(JSON.stringify(answer)).not.toContain(Buffer.from('moved').toString('base64'));
  });

  test('one key can be source and destination, to change the context alone', async () => {
    const { kms } = daemon();
    const moved = await kms.reEncrypt({
      CiphertextBlob: blob,
      SourceEncryptionContext: old,
      DestinationKeyId: source.id,
    });
    const opened = await kms.decrypt({ CiphertextBlob: present(moved.CiphertextBlob) });
    expect(Buffer.from(present(opened.Plaintext)).toString()).toBe('moved');
  });

  test('source and destination may be named in all four forms', async () => {
    const { kms } = daemon();
    const forms = (key: { id: string; arn: string }, alias: string) => [key.id, key.arn, alias, aliasArn(alias)];
    for (const SourceKeyId of forms(source, 'alias/source')) {
      for (const DestinationKeyId of forms(destination, 'alias/destination')) {
        const moved = await kms.reEncrypt({
          CiphertextBlob: blob,
          SourceEncryptionContext: old,
          SourceKeyId,
          DestinationKeyId,
        });
        expect(moved).toMatchObject({ SourceKeyId: source.arn, KeyId: destination.arn });
      }
    }
  });

  test('a source key that is not the key of the ciphertext is refused', async () => {
    const told = await refusal(
      daemon().kms.reEncrypt({
        CiphertextBlob: blob,
        SourceEncryptionContext: old,
        SourceKeyId: destination.id,
        DestinationKeyId: destination.id,
      }),
    );
    expect(told).toEqual(incorrectKey);
  });

  test('a wrong source context and a changed ciphertext are refused without a word', async () => {
    const { kms } = daemon();
    const DestinationKeyId = destination.id;
    const changed = Buffer.from(blob);
    changed.writeUInt8(changed.readUInt8(changed.length - 1) ^ 1, changed.length - 1);
    for (const input of [
      { CiphertextBlob: blob },
      { CiphertextBlob: blob, SourceEncryptionContext: renewed },
      { CiphertextBlob: blob, DestinationEncryptionContext: old },
      { CiphertextBlob: changed, SourceEncryptionContext: old },
    ]) {
      expect(await refusal(kms.reEncrypt({ ...input, DestinationKeyId }))).toEqual(invalidCiphertext);
    }
  });

  test('a destination that is not there, and members that are missing, are named', async () => {
    const { kms, socket } = daemon();
    const input = { CiphertextBlob: blob, SourceEncryptionContext: old };
    expect(await refusal(kms.reEncrypt({ ...input, DestinationKeyId: unknownKeyId }))).toEqual(
      keyNotFound(keyArn(unknownKeyId)),
    );
    const CiphertextBlob = Buffer.from(blob).toString('base64');
    expect(errorIn(await call(socket, 'ReEncrypt', { CiphertextBlob }))).toEqual(
      invalid(problem.missing('destinationKeyId')),
    );
    expect(errorIn(await call(socket, 'ReEncrypt', { DestinationKeyId: destination.id }))).toEqual(
      invalid(problem.missing('ciphertextBlob')),
    );
  });

  test.each(['SourceEncryptionAlgorithm', 'DestinationEncryptionAlgorithm'] as const)(
    '%s must be one that the key has',
    async (member) => {
      const input = { CiphertextBlob: blob, SourceEncryptionContext: old, DestinationKeyId: destination.id };
      await daemon().kms.reEncrypt({ ...input, [member]: 'SYMMETRIC_DEFAULT' });
      const told = await refusal(daemon().kms.reEncrypt({ ...input, [member]: 'RSAES_OAEP_SHA_1' }));
      expect(told.name).toBe('InvalidKeyUsageException');
      expect(told.message).toBe('Algorithm RSAES_OAEP_SHA_1 is incompatible with key spec SYMMETRIC_DEFAULT.');
    },
  );

  test.each([
    ['ReEncryptFrom', 'the source key'],
    ['ReEncryptTo', 'the destination key'],
  ])('who lacks %s on %s is refused by its name', async (action, which) => {
    const { kms } = daemon();
    const closed = await newKey(kms, policy(rootMayAll, deny(rootArn, `kms:${action}`)));
    const isSource = which === 'the source key';
    const made = await kms.encrypt({ KeyId: isSource ? closed.id : source.id, Plaintext: Buffer.from('x') });
    const told = await refusal(
      kms.reEncrypt({
        CiphertextBlob: present(made.CiphertextBlob),
        DestinationKeyId: isSource ? destination.id : closed.id,
      }),
    );
    expect(told).toEqual(
      isSource
        ? deniedByCiphertext(rootArn, action, 'key policy')
        : accessDenied(rootArn, action, closed.arn, 'denied'),
    );
  });

  test('an encrypted data key can be moved and is the same data key afterwards', async () => {
    const { kms } = daemon();
    const dataKey = await kms.generateDataKey({ KeyId: source.id, KeySpec: 'AES_256', EncryptionContext: old });
    const moved = await kms.reEncrypt({
      CiphertextBlob: present(dataKey.CiphertextBlob),
      SourceEncryptionContext: old,
      DestinationKeyId: destination.id,
    });
    const opened = await kms.decrypt({ CiphertextBlob: present(moved.CiphertextBlob) });
    expect(present(opened.Plaintext)).toEqual(present(dataKey.Plaintext));
  });

  test('grant tokens that are no grants are refused', async () => {
    const told = await refusal(
      daemon().kms.reEncrypt({
        CiphertextBlob: blob,
        SourceEncryptionContext: old,
        DestinationKeyId: destination.id,
        GrantTokens: ['no-such-grant'],
      }),
    );
    expect(told.name).toBe('InvalidGrantTokenException');
  });
});
