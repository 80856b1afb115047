/** Messages of suites without key commitment, as old versions of the AWS Encryption SDK wrote them. */

import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { buildEncrypt } from '@aws-crypto/encrypt-node';
import { AlgorithmSuiteIdentifier, CommitmentPolicy } from '@aws-crypto/material-management-node';
import { CreateKeyCommand } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encryptingKeyring } from '../../src/cli/files/kms-keyring.ts';
import { decryptingStream } from '../../src/cli/files/message-format.ts';
import { KmsClient } from '../../src/cli/requests/kms-client.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';

const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: messages without key commitment: ${missing}\n`);

const suites = {
  signed: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384,
  'with a derived key': AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA256,
  'with the data key itself': AlgorithmSuiteIdentifier.ALG_AES128_GCM_IV12_TAG16,
} as const;

describe.skipIf(missing !== null)('A message without key commitment', () => {
  let instance: Instance;
  let client: KmsClient;
  let keyId: string;
  beforeAll(async () => {
    instance = await startInstance();
    client = new KmsClient(instance.socket);
    const { KeyMetadata } = await instance.sdkClient().send(new CreateKeyCommand({}));
    keyId = KeyMetadata?.KeyId ?? '';
  });
  afterAll(async () => {
    await instance.stop();
  });

  const { encrypt } = buildEncrypt(CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT);
  const text = Buffer.alloc(10_000, 'text ');
  const message = async (suiteId: AlgorithmSuiteIdentifier, frameLength: number): Promise<Buffer> =>
    (await encrypt(encryptingKeyring(client, keyId), text, { suiteId, frameLength, encryptionContext: { a: 'b' } }))
      .result;

  async function decrypted(input: Buffer, allowsUncommitted: boolean): Promise<Buffer> {
    const { stream, explain } = await decryptingStream(client, {
      keyArn: undefined,
      context: { a: 'b' },
      allowsUncommitted,
    });
    const chunks: Buffer[] = [];
    const kept = new Writable({
      write(chunk: Buffer, _encoding, done) {
        chunks.push(chunk);
        done();
      },
    });
    try {
      await pipeline(Readable.from([input.subarray(0, 33), input.subarray(33)]), stream, kept);
    } catch (error) {
      throw explain(error);
    }
    return Buffer.concat(chunks);
  }

  test.each(Object.entries(suites))(
    'that is %s is read when somebody asks for it, also several, and as text',
    async (_, suite) => {
      const messages = Buffer.concat([
        await message(suite, 4096),
        await message(suite, 10_000),
        await message(suite, 16),
      ]);
      const three = Buffer.concat([text, text, text]);
      expect((await decrypted(messages, true)).equals(three)).toBe(true);
      expect((await decrypted(Buffer.from(messages.toString('base64')), true)).equals(three)).toBe(true);
    },
  );

  test('is refused otherwise, with what it is and what to do', async () => {
    const one = await message(suites.signed, 4096);
    await expect(decrypted(one, false)).rejects.toThrow(
      /^the message has no key commitment .* --allow-uncommitted reads it$/,
    );
    await expect(decrypted(Buffer.from(one.toString('base64')), false)).rejects.toThrow('--allow-uncommitted');
  });

  test('that was changed is refused, and so is what follows it', async () => {
    const one = await message(suites['with a derived key'], 4096);
    const changed = Buffer.from(one);
    changed.writeUInt8(changed.readUInt8(changed.length - 20) ^ 1, changed.length - 20);
    await expect(decrypted(changed, true)).rejects.toThrow('the message is cut off, damaged, or none of this format');
    await expect(decrypted(Buffer.concat([one, Buffer.from('garbage')]), true)).rejects.toThrow(
      'what follows the first message is cut off, damaged, or none of this format',
    );
    await expect(decrypted(one.subarray(0, -1), true)).rejects.toThrow('the message is cut off');
  });
});
