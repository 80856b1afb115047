/** Encrypt, Decrypt and ReEncrypt with RSA keys, and between them and symmetric keys. */

import { constants, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import type { EncryptionAlgorithmSpec } from '@aws-sdk/client-kms';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { rootArn } from '../support/arns.ts';
import { auditLines } from '../support/audit-trail.ts';
import { bootTimeoutMs, type Daemon, newKey, newKeyOf, present } from '../support/daemon.ts';
import { deny, policy, rootMayAll } from '../support/policies.ts';
import {
  accessDenied,
  dryRunSucceeded,
  incorrectKey,
  invalidCiphertext,
  type Refusal,
  refusal,
  refused,
  wrongAlgorithm,
  wrongUsage,
} from '../support/refusals.ts';

/** With the largest plaintext that AWS documents for RSA_2048. */
const algorithms = [
  { algorithm: 'RSAES_OAEP_SHA_1', oaepHash: 'sha1', largest: 214 },
  { algorithm: 'RSAES_OAEP_SHA_256', oaepHash: 'sha256', largest: 190 },
] as const;

const tooLarge = (algorithm: string, maxBytes: number): Refusal =>
  refused(
    'ValidationException',
    `Algorithm ${algorithm} and key spec RSA_2048 cannot encrypt data larger than ${maxBytes} bytes.`,
  );
const noContext = refused(
  'ValidationException',
  'EncryptionContext is not supported when encrypting/decrypting with asymmetric CMKs.',
);

export function rsaEncryption(daemon: () => Daemon): void {
  let key: { readonly id: string; readonly arn: string };
  let symmetric: { readonly id: string; readonly arn: string };
  beforeAll(async () => {
    key = await newKeyOf(daemon().kms, 'RSA_2048', 'ENCRYPT_DECRYPT');
    symmetric = await newKey(daemon().kms);
  }, bootTimeoutMs);
  const rsa = () => key;
  const context = { tenant: 'acme' };

  describe.each(algorithms)('$algorithm', ({ algorithm: EncryptionAlgorithm, oaepHash, largest }) => {
    test('takes up to the documented number of bytes, and gives them back', async () => {
      const { kms } = daemon();
      const { id: KeyId, arn } = rsa();
      for (const length of [1, largest]) {
        const Plaintext = randomBytes(length);
        const { CiphertextBlob, $metadata, ...encrypted } = await kms.encrypt({
          KeyId,
          Plaintext,
          EncryptionAlgorithm,
        });
        expect(encrypted).toEqual({ KeyId: arn, EncryptionAlgorithm });
        expect(CiphertextBlob).toHaveLength(256);
        const { $metadata: _, ...opened } = await kms.decrypt({ KeyId, CiphertextBlob, EncryptionAlgorithm });
        expect(opened).toEqual({ KeyId: arn, EncryptionAlgorithm, Plaintext: new Uint8Array(Plaintext) });
      }
      const Plaintext = Buffer.alloc(largest + 1);
      const told = tooLarge(EncryptionAlgorithm, largest);
      expect(await refusal(kms.encrypt({ KeyId, Plaintext, EncryptionAlgorithm }))).toEqual(told);
      expect(await refusal(kms.encrypt({ KeyId, Plaintext, EncryptionAlgorithm, DryRun: true }))).toEqual(told);
    });

    test('decrypts what somebody with the public key alone encrypted, and nothing that was changed', async () => {
      const { kms } = daemon();
      const KeyId = rsa().id;
      const { PublicKey, EncryptionAlgorithms, KeyUsage } = await kms.getPublicKey({ KeyId });
      expect({ EncryptionAlgorithms, KeyUsage }).toEqual({
        EncryptionAlgorithms: ['RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256'],
        KeyUsage: 'ENCRYPT_DECRYPT',
      });
      const key = createPublicKey({ key: Buffer.from(present(PublicKey)), format: 'der', type: 'spki' });
      const padding = constants.RSA_PKCS1_OAEP_PADDING;
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: largest }), fc.nat(), async (bytes, position) => {
          const made = publicEncrypt({ key, padding, oaepHash }, bytes);
          const opened = await kms.decrypt({ KeyId, CiphertextBlob: made, EncryptionAlgorithm });
          expect(Buffer.from(present(opened.Plaintext))).toEqual(Buffer.from(bytes));
          const bit = position % (made.length * 8);
          made[bit >> 3] = (made[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          const changed = kms.decrypt({ KeyId, CiphertextBlob: made, EncryptionAlgorithm });
          expect(await refusal(changed)).toEqual(invalidCiphertext);
        }),
        { numRuns: 8 },
      );
    });

    test('fails in one way, whatever is wrong with a ciphertext', async () => {
      const { kms } = daemon();
      const KeyId = rsa().id;
      const { PublicKey } = await kms.getPublicKey({ KeyId });
      const key = createPublicKey({ key: Buffer.from(present(PublicKey)), format: 'der', type: 'spki' });
      const data = Buffer.from('x');
      const oaep = constants.RSA_PKCS1_OAEP_PADDING;
      const otherHash = oaepHash === 'sha1' ? 'sha256' : 'sha1';
      const wrong: readonly (readonly [what: string, ciphertext: Buffer])[] = [
        ['one byte', Buffer.of(1)],
        ['a byte short', publicEncrypt({ key, padding: oaep, oaepHash }, data).subarray(1)],
        ['a byte long', Buffer.concat([Buffer.of(0), publicEncrypt({ key, padding: oaep, oaepHash }, data)])],
        ['zero', Buffer.alloc(256)],
        ['one', Buffer.concat([Buffer.alloc(255), Buffer.of(1)])],
        ['larger than the modulus', Buffer.alloc(256, 0xff)],
        ['random', Buffer.concat([Buffer.of(0), randomBytes(255)])],
        ['of the other hash', publicEncrypt({ key, padding: oaep, oaepHash: otherHash }, data)],
        ['with a label', publicEncrypt({ key, padding: oaep, oaepHash, oaepLabel: Buffer.from('label') }, data)],
        ['of PKCS#1 v1.5', publicEncrypt({ key, padding: constants.RSA_PKCS1_PADDING }, data)],
        ['without padding', publicEncrypt({ key, padding: constants.RSA_NO_PADDING }, Buffer.alloc(256, 1))],
      ];
      for (const [what, CiphertextBlob] of wrong) {
        const told = await refusal(kms.decrypt({ KeyId, CiphertextBlob, EncryptionAlgorithm }));
        expect([what, told]).toEqual([what, invalidCiphertext]);
      }
      // The key still works: no ciphertext tears a session down.
      const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: data, EncryptionAlgorithm });
      expect((await kms.decrypt({ KeyId, CiphertextBlob, EncryptionAlgorithm })).KeyId).toBe(rsa().arn);
    });

    test('ReEncrypt goes from a symmetric key to an RSA key and back', async () => {
      const { kms } = daemon();
      const Plaintext = randomBytes(largest);
      const first = await kms.encrypt({ KeyId: symmetric.id, Plaintext, EncryptionContext: context });
      const { $metadata, CiphertextBlob, ...told } = await kms.reEncrypt({
        CiphertextBlob: first.CiphertextBlob,
        SourceEncryptionContext: context,
        DestinationKeyId: rsa().id,
        DestinationEncryptionAlgorithm: EncryptionAlgorithm,
      });
      expect(told).toEqual({
        SourceKeyId: symmetric.arn,
        KeyId: rsa().arn,
        SourceEncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
        DestinationEncryptionAlgorithm: EncryptionAlgorithm,
        SourceKeyMaterialId: expect.stringMatching(/^[0-9a-f]{64}$/),
      });
      const back = await kms.reEncrypt({
        CiphertextBlob,
        SourceKeyId: rsa().id,
        SourceEncryptionAlgorithm: EncryptionAlgorithm,
        DestinationKeyId: symmetric.id,
        DestinationEncryptionContext: context,
      });
      expect(back).not.toHaveProperty('SourceKeyMaterialId');
      expect(back.DestinationKeyMaterialId).toMatch(/^[0-9a-f]{64}$/);
      const opened = await kms.decrypt({ CiphertextBlob: back.CiphertextBlob, EncryptionContext: context });
      expect(Buffer.from(present(opened.Plaintext))).toEqual(Plaintext);
    });
  });

  const sha256 = { EncryptionAlgorithm: 'RSAES_OAEP_SHA_256' } as const;
  const encrypted = async (): Promise<Uint8Array> =>
    present((await daemon().kms.encrypt({ KeyId: rsa().id, Plaintext: Buffer.from('x'), ...sha256 })).CiphertextBlob);

  test('an encryption context is refused on every way, an empty one is none', async () => {
    const { kms } = daemon();
    const CiphertextBlob = await encrypted();
    const rsaKey = { KeyId: rsa().id, ...sha256, EncryptionContext: context };
    expect(await refusal(kms.encrypt({ ...rsaKey, Plaintext: Buffer.from('x') }))).toEqual(noContext);
    expect(await refusal(kms.encrypt({ ...rsaKey, Plaintext: Buffer.from('x'), DryRun: true }))).toEqual(noContext);
    expect(await refusal(kms.decrypt({ ...rsaKey, CiphertextBlob }))).toEqual(noContext);
    const from = { SourceKeyId: rsa().id, SourceEncryptionAlgorithm: 'RSAES_OAEP_SHA_256', CiphertextBlob } as const;
    const to = { DestinationKeyId: rsa().id, DestinationEncryptionAlgorithm: 'RSAES_OAEP_SHA_1' } as const;
    expect(await refusal(kms.reEncrypt({ ...from, ...to, SourceEncryptionContext: context }))).toEqual(noContext);
    expect(await refusal(kms.reEncrypt({ ...from, ...to, DestinationEncryptionContext: context }))).toEqual(noContext);
    expect((await kms.decrypt({ ...rsaKey, EncryptionContext: {}, CiphertextBlob })).KeyId).toBe(rsa().arn);
  });

  test('key and algorithm are named by whoever decrypts', async () => {
    const { kms } = daemon();
    const CiphertextBlob = await encrypted();
    const required = (member: string) =>
      refused('ValidationException', `${member} is required for RSAES_OAEP_SHA_256.`);
    expect(await refusal(kms.decrypt({ CiphertextBlob, ...sha256 }))).toEqual(required('KeyId'));
    expect(await refusal(kms.decrypt({ CiphertextBlob }))).toEqual(invalidCiphertext);
    expect(await refusal(kms.decrypt({ CiphertextBlob, KeyId: rsa().id }))).toEqual(
      wrongAlgorithm('SYMMETRIC_DEFAULT', 'RSA_2048'),
    );
    const destination = { DestinationKeyId: symmetric.id };
    const SourceEncryptionAlgorithm: EncryptionAlgorithmSpec = 'RSAES_OAEP_SHA_256';
    expect(await refusal(kms.reEncrypt({ CiphertextBlob, SourceEncryptionAlgorithm, ...destination }))).toEqual(
      required('SourceKeyId'),
    );
    expect(await refusal(kms.decrypt({ CiphertextBlob, KeyId: symmetric.id, ...sha256 }))).toEqual(invalidCiphertext);
  });

  test('each kind of key refuses the algorithms and ciphertexts of the other', async () => {
    const { kms } = daemon();
    const Plaintext = Buffer.from('x');
    const { CiphertextBlob } = await kms.encrypt({ KeyId: symmetric.id, Plaintext });
    expect(await refusal(kms.encrypt({ KeyId: rsa().id, Plaintext }))).toEqual(
      wrongAlgorithm('SYMMETRIC_DEFAULT', 'RSA_2048'),
    );
    expect(await refusal(kms.encrypt({ KeyId: symmetric.id, Plaintext, ...sha256 }))).toEqual(
      wrongAlgorithm('RSAES_OAEP_SHA_256', 'SYMMETRIC_DEFAULT'),
    );
    expect(await refusal(kms.decrypt({ KeyId: rsa().id, CiphertextBlob, ...sha256 }))).toEqual(invalidCiphertext);
    expect(await refusal(kms.generateDataKey({ KeyId: rsa().id, KeySpec: 'AES_256' }))).toEqual(
      wrongAlgorithm('SYMMETRIC_DEFAULT', 'RSA_2048'),
    );
    const other = await newKey(kms);
    expect(await refusal(kms.decrypt({ KeyId: other.id, CiphertextBlob }))).toEqual(incorrectKey);
  });

  test('a key for signatures does not encrypt', async () => {
    const { kms } = daemon();
    const { id: KeyId, arn } = await newKeyOf(kms, 'RSA_2048', 'SIGN_VERIFY');
    const told = (operation: string) => wrongUsage(arn, 'SIGN_VERIFY', operation);
    expect(await refusal(kms.encrypt({ KeyId, Plaintext: Buffer.from('x'), ...sha256 }))).toEqual(told('Encrypt'));
    expect(await refusal(kms.decrypt({ KeyId, CiphertextBlob: Buffer.alloc(256), ...sha256 }))).toEqual(
      told('Decrypt'),
    );
    const signed = { SigningAlgorithm: 'RSASSA_PSS_SHA_256', Message: Buffer.from('x') } as const;
    expect(await refusal(kms.sign({ KeyId: rsa().id, ...signed }))).toEqual(
      wrongUsage(rsa().arn, 'ENCRYPT_DECRYPT', 'Sign'),
    );
  });

  test('a plaintext that the destination cannot hold is not moved there', async () => {
    const { kms } = daemon();
    const { CiphertextBlob } = await kms.encrypt({ KeyId: symmetric.id, Plaintext: Buffer.alloc(191) });
    const asked = {
      CiphertextBlob,
      DestinationKeyId: rsa().id,
      DestinationEncryptionAlgorithm: 'RSAES_OAEP_SHA_256',
    } as const;
    const told = tooLarge('RSAES_OAEP_SHA_256', 190);
    expect(await refusal(kms.reEncrypt(asked))).toEqual(told);
    expect(await refusal(kms.reEncrypt({ ...asked, DryRun: true }))).toEqual(told);
  });

  test('nothing at all is moved to a key that encrypts nothing empty, and to one that does', async () => {
    const { kms } = daemon();
    const { PublicKey } = await kms.getPublicKey({ KeyId: rsa().id });
    const key = createPublicKey({ key: Buffer.from(present(PublicKey)), format: 'der', type: 'spki' });
    const CiphertextBlob = publicEncrypt({ key, oaepHash: 'sha256' }, Buffer.alloc(0));
    const from = { CiphertextBlob, SourceKeyId: rsa().id, SourceEncryptionAlgorithm: 'RSAES_OAEP_SHA_256' } as const;
    const told = refused('ValidationException', 'Algorithm SYMMETRIC_DEFAULT cannot encrypt an empty plaintext.');
    const toSymmetric = { ...from, DestinationKeyId: symmetric.id };
    expect(await refusal(kms.reEncrypt(toSymmetric))).toEqual(told);
    expect(await refusal(kms.reEncrypt({ ...toSymmetric, DryRun: true }))).toEqual(told);
    const toRsa = { ...from, DestinationKeyId: rsa().id, DestinationEncryptionAlgorithm: 'RSAES_OAEP_SHA_1' } as const;
    const moved = await kms.reEncrypt(toRsa);
    const EncryptionAlgorithm = 'RSAES_OAEP_SHA_1';
    const opened = await kms.decrypt({ CiphertextBlob: moved.CiphertextBlob, KeyId: rsa().id, EncryptionAlgorithm });
    expect(opened.Plaintext).toHaveLength(0);
  });

  test('a dry run says what the request would be told', async () => {
    const { kms } = daemon();
    const CiphertextBlob = await encrypted();
    const rsaKey = { KeyId: rsa().id, ...sha256, DryRun: true };
    expect(await refusal(kms.encrypt({ ...rsaKey, Plaintext: Buffer.from('x') }))).toEqual(dryRunSucceeded);
    expect(await refusal(kms.decrypt({ ...rsaKey, CiphertextBlob }))).toEqual(dryRunSucceeded);
    expect(await refusal(kms.decrypt({ ...rsaKey, CiphertextBlob: Buffer.alloc(256) }))).toEqual(invalidCiphertext);
    expect(await refusal(kms.decrypt({ ...rsaKey, DryRunModifiers: ['IGNORE_CIPHERTEXT'] }))).toEqual(dryRunSucceeded);
  });

  test('encrypting and decrypting take their own permissions, and neither text is on record', async () => {
    const { kms, instance } = daemon();
    const document = policy(rootMayAll, deny(rootArn, 'kms:Decrypt'));
    const { id: KeyId, arn } = await newKeyOf(kms, 'RSA_2048', 'ENCRYPT_DECRYPT', document);
    const made = await kms.encrypt({ KeyId, Plaintext: Buffer.from('x'), ...sha256 });
    expect(await refusal(kms.decrypt({ KeyId, CiphertextBlob: made.CiphertextBlob, ...sha256 }))).toEqual(
      accessDenied(rootArn, 'Decrypt', arn, 'denied'),
    );
    const event = present(auditLines(instance.dir).find(({ requestID }) => requestID === made.$metadata.requestId));
    expect(event.requestParameters).toEqual({ keyId: KeyId, encryptionAlgorithm: 'RSAES_OAEP_SHA_256' });
    expect(event.responseElements).toBeNull();
  });
}
