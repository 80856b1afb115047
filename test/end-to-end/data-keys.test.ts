/** GenerateDataKey, GenerateDataKeyWithoutPlaintext and GenerateRandom. */

import type { DataKeySpec } from '@aws-sdk/client-kms';
import { beforeAll, expect, test } from 'vitest';
import { aliasArn } from './support/arns.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { invalid, invalidCiphertext, problem, refusal, refused } from './support/refusals.ts';
import { call, errorIn, json } from './support/wire.ts';

interface DataKeyInput {
  readonly KeySpec?: DataKeySpec;
  readonly NumberOfBytes?: number;
}
const eitherOr = refused('ValidationException', 'Please specify either number of bytes or key spec.');
const Recipient = {
  KeyEncryptionAlgorithm: 'RSAES_OAEP_SHA_256',
  AttestationDocument: Buffer.from('document'),
} as const;

describeDaemon('Data keys and random bytes', (daemon) => {
  let key: { readonly id: string; readonly arn: string };
  beforeAll(async () => {
    key = await newKey(daemon().kms);
    await daemon().kms.createAlias({ AliasName: 'alias/data', TargetKeyId: key.id });
  });

  const decrypted = async (blob: Uint8Array | undefined, EncryptionContext: Record<string, string> = {}) =>
    Buffer.from(present((await daemon().kms.decrypt({ CiphertextBlob: present(blob), EncryptionContext })).Plaintext));

  test.each<[DataKeyInput, number]>([
    [{ KeySpec: 'AES_128' }, 16],
    [{ KeySpec: 'AES_256' }, 32],
    [{ NumberOfBytes: 1 }, 1],
    [{ NumberOfBytes: 16 }, 16],
    [{ NumberOfBytes: 64 }, 64],
    [{ NumberOfBytes: 1023 }, 1023],
    [{ NumberOfBytes: 1024 }, 1024],
  ])('%o makes a data key of %i byte(s), which its ciphertext decrypts to', async (input, length) => {
    const { kms } = daemon();
    const made = await kms.generateDataKey({ KeyId: key.id, ...input });
    expect(made.KeyId).toBe(key.arn);
    expect(present(made.Plaintext)).toHaveLength(length);
    expect(await decrypted(made.CiphertextBlob)).toEqual(Buffer.from(present(made.Plaintext)));
    const { KeyMetadata } = await kms.describeKey({ KeyId: key.id });
    expect(made.KeyMaterialId).toBe(KeyMetadata?.CurrentKeyMaterialId);

    const hidden = await kms.generateDataKeyWithoutPlaintext({ KeyId: key.id, ...input });
    expect(hidden).toMatchObject({ KeyId: key.arn, KeyMaterialId: made.KeyMaterialId });
    expect(await decrypted(hidden.CiphertextBlob)).toHaveLength(length);
  });

  test('GenerateDataKeyWithoutPlaintext answers without the plaintext', async () => {
    const answer = json(
      await call(daemon().socket, 'GenerateDataKeyWithoutPlaintext', { KeyId: key.id, KeySpec: 'AES_256' }),
    );
    expect(Object.keys(answer).sort()).toEqual(['CiphertextBlob', 'KeyId', 'KeyMaterialId']);
  });

  test('no two data keys are equal', async () => {
    const made = await Promise.all(
      Array.from({ length: 100 }, () => daemon().kms.generateDataKey({ KeyId: key.id, KeySpec: 'AES_256' })),
    );
    expect(new Set(made.map(({ Plaintext }) => Buffer.from(present(Plaintext)).toString('hex'))).size).toBe(100);
    expect(new Set(made.map(({ CiphertextBlob }) => Buffer.from(present(CiphertextBlob)).toString('hex'))).size).toBe(
      100,
    );
  });

  test('a data key is bound to its encryption context', async () => {
    const { kms } = daemon();
    const EncryptionContext = { file: '/etc/shadow', naïve: '✓' };
    for (const made of [
      await kms.generateDataKey({ KeyId: key.id, KeySpec: 'AES_128', EncryptionContext }),
      await kms.generateDataKeyWithoutPlaintext({ KeyId: key.id, KeySpec: 'AES_128', EncryptionContext }),
    ]) {
      const CiphertextBlob = present(made.CiphertextBlob);
      expect(await decrypted(CiphertextBlob, EncryptionContext)).toHaveLength(16);
      expect(await refusal(kms.decrypt({ CiphertextBlob }))).toEqual(invalidCiphertext);
      const other = { ...EncryptionContext, file: '/etc/shadow-' };
      expect(await refusal(kms.decrypt({ CiphertextBlob, EncryptionContext: other }))).toEqual(invalidCiphertext);
    }
  });

  test('the key may be named in all four forms', async () => {
    for (const KeyId of [key.id, key.arn, 'alias/data', aliasArn('alias/data')]) {
      expect((await daemon().kms.generateDataKey({ KeyId, KeySpec: 'AES_256' })).KeyId).toBe(key.arn);
      expect((await daemon().kms.generateDataKeyWithoutPlaintext({ KeyId, KeySpec: 'AES_256' })).KeyId).toBe(key.arn);
    }
  });

  const operations = ['generateDataKey', 'generateDataKeyWithoutPlaintext'] as const;
  test.each(operations)('%s wants the length in one of two ways, and not in both', async (operation) => {
    const make = (input: DataKeyInput) => daemon().kms[operation]({ KeyId: key.id, ...input });
    expect(await refusal(make({}))).toEqual(eitherOr);
    expect(await refusal(make({ KeySpec: 'AES_256', NumberOfBytes: 32 }))).toEqual(eitherOr);
    expect(await refusal(make({ NumberOfBytes: 0 }))).toEqual(invalid(problem.tooSmall(0, 'numberOfBytes', 1)));
    expect(await refusal(make({ NumberOfBytes: -5 }))).toEqual(invalid(problem.tooSmall(-5, 'numberOfBytes', 1)));
    expect(await refusal(make({ NumberOfBytes: 1025 }))).toEqual(
      invalid(problem.tooLarge(1025, 'numberOfBytes', 1024)),
    );
  });

  test.each(['GenerateDataKey', 'GenerateDataKeyWithoutPlaintext'])(
    '%s names what is wrong on the wire',
    async (operation) => {
      const told = async (body: object) => errorIn(await call(daemon().socket, operation, body));
      expect(await told({ KeySpec: 'AES_256' })).toEqual(invalid(problem.missing('keyId')));
      expect((await told({ KeyId: key.id, KeySpec: 'AES_192' })).message).toMatch(
        /^1 validation error detected: Value 'AES_192' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: \[(AES_256, AES_128|AES_128, AES_256)\]$/,
      );
      expect((await told({ KeyId: key.id, NumberOfBytes: '32' })).name).toBe('SerializationException');
      expect((await told({ KeyId: key.id, NumberOfBytes: 1.5 })).name).toBe('SerializationException');
    },
  );

  test.each(operations)('%s refuses grant tokens that are no grants', async (operation) => {
    const told = await refusal(daemon().kms[operation]({ KeyId: key.id, KeySpec: 'AES_256', GrantTokens: ['none'] }));
    expect(told.name).toBe('InvalidGrantTokenException');
  });

  test('GenerateDataKey refuses a recipient in an enclave by name', async () => {
    const told = await refusal(daemon().kms.generateDataKey({ KeyId: key.id, KeySpec: 'AES_256', Recipient }));
    expect(told.name).toBe('UnsupportedOperationException');
    expect(told.message).toContain('Recipient');
  });

  test.each([1, 2, 32, 1023, 1024])('GenerateRandom gives %i byte(s)', async (NumberOfBytes) => {
    const { Plaintext } = await daemon().kms.generateRandom({ NumberOfBytes });
    expect(present(Plaintext)).toHaveLength(NumberOfBytes);
  });

  test('random bytes do not repeat, and every value comes up', async () => {
    const blocks = await Promise.all(
      Array.from({ length: 64 }, async () =>
        Buffer.from(present((await daemon().kms.generateRandom({ NumberOfBytes: 1024 })).Plaintext)),
      ),
    );
    expect(new Set(blocks.map((block) => block.toString('hex'))).size).toBe(64);
    expect(new Set(Buffer.concat(blocks)).size).toBe(256);
  });

  test('GenerateRandom wants a number of bytes between 1 and 1,024', async () => {
    const { kms, socket } = daemon();
    const required = refused('ValidationException', 'NumberOfBytes is required.');
    expect(await refusal(kms.generateRandom({}))).toEqual(required);
    expect(errorIn(await call(socket, 'GenerateRandom', { NumberOfBytes: null }))).toEqual(required);
    expect(await refusal(kms.generateRandom({ NumberOfBytes: 0 }))).toEqual(
      invalid(problem.tooSmall(0, 'numberOfBytes', 1)),
    );
    expect(await refusal(kms.generateRandom({ NumberOfBytes: 1025 }))).toEqual(
      invalid(problem.tooLarge(1025, 'numberOfBytes', 1024)),
    );
  });

  test('GenerateRandom refuses key stores and recipients that do not exist here, by name', async () => {
    const { kms } = daemon();
    const store = await refusal(kms.generateRandom({ NumberOfBytes: 16, CustomKeyStoreId: 'cks-1234567890abcdef0' }));
    expect(store.name).toBe('CustomKeyStoreNotFoundException');
    expect(store.message).toContain('CustomKeyStoreId');
    const recipient = await refusal(kms.generateRandom({ NumberOfBytes: 16, Recipient }));
    expect(recipient.name).toBe('UnsupportedOperationException');
    expect(recipient.message).toContain('Recipient');
  });
});
