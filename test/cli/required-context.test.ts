/**
 * Messages of the AWS Encryption SDK's required encryption context, as its library for Python wrote them
 * (`test/vectors/README.md`). Their data keys are wrapped by a raw key, so that they can be read without a daemon; over one,
 * `test/clients/encryption-sdk-python` reads its own.
 */

import { createDecipheriv } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { buildDecrypt } from '@aws-crypto/decrypt-node';
import {
  CommitmentPolicy,
  CommitmentPolicySuites,
  type EncryptedDataKey,
  KeyringNode,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '@aws-crypto/material-management-node';
import { describe, expect, test } from 'vitest';
import { MessagesStream } from '../../src/cli/files/messages-stream.ts';
import { RequiredContextMessage } from '../../src/cli/files/required-context.ts';

interface Vectors {
  readonly wrappingKey: string;
  readonly keyNamespace: string;
  readonly keyName: string;
  readonly encryptionContext: Readonly<Record<string, string>>;
  readonly required: readonly string[];
  readonly plaintextLines: number;
  readonly messages: Readonly<Record<string, string>>;
}

const file = new URL('../vectors/encryption-sdk/required-context.json', import.meta.url);
const vectors = JSON.parse(readFileSync(file, 'utf8')) as Vectors;
const plaintext = Array.from(
  { length: vectors.plaintextLines },
  (_, line) => `${String(line).padStart(6, '0')}\n`,
).join('');
const required = Object.fromEntries(vectors.required.map((name) => [name, vectors.encryptionContext[name] ?? '']));

const policy = CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT;
const { decryptStream } = buildDecrypt(policy);

const [ivBytes, tagBytes] = [12, 16];

/** A raw AES keyring: the data key is encrypted by AES-GCM under the wrapping key, with the encryption context as AAD. */
class RawKeyring extends KeyringNode {
  override _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    return Promise.resolve(material);
  }

  override async _onDecrypt(
    material: NodeDecryptionMaterial,
    [key]: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const iv = Buffer.from(key?.rawInfo ?? []).subarray(-ivBytes);
    const ciphertext = Buffer.from(key?.encryptedDataKey ?? []);
    const decipher = createDecipheriv('aes-256-gcm', Buffer.from(vectors.wrappingKey, 'base64'), iv);
    decipher.setAAD(aadOf(material.encryptionContext)).setAuthTag(ciphertext.subarray(-tagBytes));
    const bytes = Buffer.concat([decipher.update(ciphertext.subarray(0, -tagBytes)), decipher.final()]);
    const flags = KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY;
    const { keyNamespace, keyName } = vectors;
    return material.setUnencryptedDataKey(new Uint8Array(bytes), { keyNamespace, keyName, flags });
  }
}

/** As the specification has it: their number, and names and values with their lengths, in the order of the names' bytes. */
function aadOf(context: Readonly<Record<string, string>>): Buffer {
  const number = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
  const entries = Object.entries(context).map(([name, value]) => [Buffer.from(name), Buffer.from(value)] as const);
  const sorted = entries.sort(([one], [other]) => Buffer.compare(one, other));
  return Buffer.concat([number(sorted.length), ...sorted.flat().flatMap((text) => [number(text.length), text])]);
}

/** As `decrypt` reads it, in pieces of so many bytes. */
async function read(message: Buffer, context: Readonly<Record<string, string>>, pieceBytes = 1000): Promise<string> {
  const keyring = new RawKeyring();
  const stream = new MessagesStream(
    () =>
      new RequiredContextMessage({
        keyring,
        context,
        compare: () => undefined,
        allowsSuite: (suite, id) => CommitmentPolicySuites.isDecryptEnabled(policy, suite, id),
        open: (materials) => decryptStream(materials),
      }),
  );
  const pieces = Array.from({ length: Math.ceil(message.length / pieceBytes) }, (_, index) =>
    message.subarray(index * pieceBytes, (index + 1) * pieceBytes),
  );
  const chunks: Buffer[] = [];
  const kept = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  await pipeline(Readable.from(pieces), stream, kept);
  return Buffer.concat(chunks).toString();
}

describe.each(Object.entries(vectors.messages))('a message with a required encryption context, %s,', (name, base64) => {
  const message = Buffer.from(base64, 'base64');

  test.each([[1000], [7], [message.length]])(
    'is read with the pairs that it lacks, in pieces of %d bytes',
    async (bytes) => {
      expect(await read(message, required, bytes)).toBe(plaintext);
      expect(await read(message, vectors.encryptionContext, bytes)).toBe(plaintext);
    },
  );

  test('is read beside others, and twice', async () => {
    expect(await read(Buffer.concat([message, message]), required)).toBe(plaintext + plaintext);
  });

  test.each<[string, Readonly<Record<string, string>>]>([
    ['none of them', {}],
    ['one of them', { tenant: 'alice' }],
    ['another value', { ...required, tenant: 'bob' }],
    ['one too many', { ...required, more: '' }],
    ['a name in another case', { Tenant: 'alice', Ünï: '☂' }],
  ])('is not read with %s', async (_, context) => {
    await expect(read(message, context)).rejects.toThrow();
  });

  test('is not read where a byte of it was changed, and gives no byte that is not verified', async () => {
    const step = Math.floor(message.length / 40);
    for (let at = 3; at < message.length; at += step) {
      const changed = Buffer.from(message);
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
      await expect(read(changed, required), `byte ${at}`).rejects.toThrow();
    }
    const last = Buffer.from(message);
    last.writeUInt8(last.readUInt8(last.length - 1) ^ 1, last.length - 1);
    await expect(read(last, required)).rejects.toThrow(name.startsWith('signed') ? 'signature' : /./);
    await expect(read(message.subarray(0, -1), required)).rejects.toThrow();
  });
});
