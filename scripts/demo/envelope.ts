/**
 * Envelope encryption of a file, as a program would do it that talks to AWS KMS: KMS makes a data key, gives it out once
 * in the clear and once encrypted, and never sees the file.
 *
 *     bytes   what
 *     4       length of the encrypted data key, big-endian
 *     n       the encrypted data key, as `GenerateDataKey` returned it
 *     12      IV
 *     m       AES-256-GCM of the file; the encrypted data key is its additional data
 *     16      tag
 *
 * The data key encrypts this one file, so a random IV cannot repeat. For files that don't fit into memory there is
 * `drawbridge encrypt`, which writes the AWS Encryption SDK's message format.
 */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { DecryptCommand, GenerateDataKeyCommand, type KMSClient } from '@aws-sdk/client-kms';

export type EncryptionContext = Record<string, string>;

const ivBytes = 12;
const tagBytes = 16;

export async function encryptFile(
  kms: KMSClient,
  keyId: string,
  context: EncryptionContext,
  file: Buffer,
): Promise<{ readonly envelope: Buffer; readonly encryptedDataKey: Buffer }> {
  const answer = await kms.send(
    new GenerateDataKeyCommand({ KeyId: keyId, KeySpec: 'AES_256', EncryptionContext: context }),
  );
  if (answer.Plaintext === undefined || answer.CiphertextBlob === undefined) throw new Error('no data key came back');
  const encryptedDataKey = Buffer.from(answer.CiphertextBlob);
  const iv = randomBytes(ivBytes);
  try {
    const cipher = createCipheriv('aes-256-gcm', answer.Plaintext, iv).setAAD(encryptedDataKey);
    const body = [cipher.update(file), cipher.final()];
    const length = Buffer.alloc(4);
    length.writeUInt32BE(encryptedDataKey.length);
    return { envelope: Buffer.concat([length, encryptedDataKey, iv, ...body, cipher.getAuthTag()]), encryptedDataKey };
  } finally {
    answer.Plaintext.fill(0);
  }
}

/** @throws what KMS says about the encrypted data key, or an error when the file itself was changed. */
export async function decryptFile(kms: KMSClient, context: EncryptionContext, envelope: Buffer): Promise<Buffer> {
  const keyEnd = 4 + envelope.readUInt32BE();
  const encryptedDataKey = envelope.subarray(4, keyEnd);
  const { Plaintext } = await kms.send(
    new DecryptCommand({ CiphertextBlob: encryptedDataKey, EncryptionContext: context }),
  );
  if (Plaintext === undefined) throw new Error('no data key came back');
  try {
    const decipher = createDecipheriv('aes-256-gcm', Plaintext, envelope.subarray(keyEnd, keyEnd + ivBytes));
    decipher.setAAD(encryptedDataKey).setAuthTag(envelope.subarray(-tagBytes));
    return Buffer.concat([decipher.update(envelope.subarray(keyEnd + ivBytes, -tagBytes)), decipher.final()]);
  } finally {
    Plaintext.fill(0);
  }
}
