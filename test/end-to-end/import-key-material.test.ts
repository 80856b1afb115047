/** Imported key material: every kind of it, what AWS answered at each step of its life, and what is no material. */

import { createHmac, randomBytes, verify } from 'node:crypto';
import type { KeySpec, KeyUsageType, KMS } from '@aws-sdk/client-kms';
import { expect, test } from 'vitest';
import { account, keyArn } from './support/arns.ts';
import { type Daemon, describeDaemon, present, type TokenName } from './support/daemon.ts';
import {
  type ImportParameters,
  importMaterial,
  importParameters,
  importRequest,
  incorrectMaterial,
  lasting,
  metadataOf,
  newExternalKey,
  pairOf,
  pendingImport,
  wrapped,
} from './support/imports.ts';
import { invalid, problem, refusal, refused } from './support/refusals.ts';
import { call, errorIn } from './support/wire.ts';

const Plaintext = Buffer.from('of a key that came from elsewhere');
const dayMs = 24 * 60 * 60 * 1000;

async function encrypted(kms: KMS, KeyId: string): Promise<Uint8Array> {
  return present((await kms.encrypt({ KeyId, Plaintext })).CiphertextBlob);
}

async function decrypted(kms: KMS, CiphertextBlob: Uint8Array): Promise<Buffer> {
  return Buffer.from(present((await kms.decrypt({ CiphertextBlob })).Plaintext));
}

function onEachToken(name: string, define: (daemon: () => Daemon, token: TokenName) => void): void {
  for (const token of ['softhsm2', 'nss'] as const) {
    describeDaemon(`${name} (${token})`, (daemon) => define(daemon, token), token);
  }
}

onEachToken('Imported key material', (daemon, token) => {
  test('of a symmetric key lives as it did on AWS, step by step', async () => {
    const { kms } = daemon();
    const created = present(
      (await kms.createKey({ Origin: 'EXTERNAL', Description: 'brought', KeySpec: 'SYMMETRIC_DEFAULT' })).KeyMetadata,
    );
    const KeyId = present(created.KeyId);
    const arn = keyArn(KeyId);
    const empty = {
      AWSAccountId: account,
      Arn: arn,
      CreationDate: expect.any(Date),
      CustomerMasterKeySpec: 'SYMMETRIC_DEFAULT',
      Description: 'brought',
      Enabled: false,
      EncryptionAlgorithms: ['SYMMETRIC_DEFAULT'],
      KeyId,
      KeyManager: 'CUSTOMER',
      KeySpec: 'SYMMETRIC_DEFAULT',
      KeyState: 'PendingImport',
      KeyUsage: 'ENCRYPT_DECRYPT',
      MultiRegion: false,
      Origin: 'EXTERNAL',
    };
    expect(created).toEqual(empty);
    expect(await metadataOf(kms, KeyId)).toEqual(empty);
    expect(await refusal(kms.encrypt({ KeyId, Plaintext }))).toEqual(pendingImport(arn));
    expect((await kms.listKeyRotations({ KeyId, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' })).Rotations).toEqual([]);
    expect((await kms.getKeyRotationStatus({ KeyId })).KeyRotationEnabled).toBe(false);

    const askedAtMs = Date.now();
    const { $metadata: _, ...parameters } = await kms.getParametersForImport({
      KeyId,
      WrappingAlgorithm: 'RSAES_OAEP_SHA_256',
      WrappingKeySpec: 'RSA_2048',
    });
    expect(parameters).toEqual({
      KeyId: arn,
      ImportToken: expect.any(Uint8Array),
      PublicKey: expect.any(Uint8Array),
      ParametersValidTo: expect.any(Date),
    });
    const lastsMs = present(parameters.ParametersValidTo).getTime() - askedAtMs;
    expect(Math.abs(lastsMs - dayMs)).toBeLessThan(60_000);
    const given: ImportParameters = {
      WrappingAlgorithm: 'RSAES_OAEP_SHA_256',
      publicKey: present(parameters.PublicKey),
      ImportToken: present(parameters.ImportToken),
    };

    const material = randomBytes(32);
    const request = importRequest(KeyId, given, material);
    expect(await refusal(kms.importKeyMaterial({ ...request, ExpirationModel: 'KEY_MATERIAL_EXPIRES' }))).toEqual(
      refused('ValidationException', 'A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES'),
    );
    expect(await metadataOf(kms, KeyId)).toEqual(empty);
    const { $metadata: __, ...imported } = await kms.importKeyMaterial(request);
    const materialId = present(imported.KeyMaterialId);
    expect(materialId).toMatch(/^[0-9a-f]{64}$/);
    expect(imported).toEqual({ KeyId: arn, KeyMaterialId: materialId });
    const complete = {
      ...empty,
      CurrentKeyMaterialId: materialId,
      Enabled: true,
      ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE',
      KeyState: 'Enabled',
    };
    expect(await metadataOf(kms, KeyId)).toEqual(complete);

    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext });
    const { KeyMaterialId } = await kms.decrypt({ CiphertextBlob });
    expect(KeyMaterialId).toBe(materialId);
    expect((await kms.generateDataKey({ KeyId, KeySpec: 'AES_256' })).KeyMaterialId).toBe(materialId);
    const moved = await kms.reEncrypt({ CiphertextBlob, DestinationKeyId: KeyId });
    expect([moved.SourceKeyMaterialId, moved.DestinationKeyMaterialId]).toEqual([materialId, materialId]);

    const { $metadata: ___, ...deleted } = await kms.deleteImportedKeyMaterial({ KeyId });
    expect(deleted).toEqual({ KeyId: arn, KeyMaterialId: materialId });
    const missing = { ...empty, CurrentKeyMaterialId: materialId };
    expect(await metadataOf(kms, KeyId)).toEqual(missing);
    expect(await refusal(kms.encrypt({ KeyId, Plaintext }))).toEqual(pendingImport(arn));
    expect(await refusal(kms.decrypt({ CiphertextBlob }))).toEqual(pendingImport(arn));
    // Once more has no effect.
    expect((await kms.deleteImportedKeyMaterial({ KeyId })).KeyMaterialId).toBe(materialId);

    // The token is good for the whole day.
    expect((await kms.importKeyMaterial(importRequest(KeyId, given, material))).KeyMaterialId).toBe(materialId);
    expect(await metadataOf(kms, KeyId)).toEqual(complete);
    expect(await decrypted(kms, present(CiphertextBlob))).toEqual(Plaintext);
  });

  test.each(['RSAES_OAEP_SHA_1', 'RSA_AES_KEY_WRAP_SHA_256', 'RSA_AES_KEY_WRAP_SHA_1'] as const)(
    'comes wrapped by %s too, and is known again however it was wrapped',
    async (algorithm) => {
      const { kms } = daemon();
      const { id: KeyId } = await newExternalKey(kms);
      const material = randomBytes(32);
      const { KeyMaterialId } = await importMaterial(kms, KeyId, material);
      const blob = await encrypted(kms, KeyId);
      await kms.deleteImportedKeyMaterial({ KeyId });
      const otherwise = await importParameters(kms, KeyId, algorithm);
      const again = await kms.importKeyMaterial(importRequest(KeyId, otherwise, material));
      expect(again.KeyMaterialId).toBe(KeyMaterialId);
      expect(await decrypted(kms, blob)).toEqual(Plaintext);
    },
  );

  const hmacs = [
    ['HMAC_224', 'HMAC_SHA_224', 28],
    ['HMAC_256', 'HMAC_SHA_256', 32],
    ['HMAC_384', 'HMAC_SHA_384', 48],
    ['HMAC_512', 'HMAC_SHA_512', 64],
  ] as const;
  test.each(hmacs)('of an %s key makes the MACs that it makes elsewhere', async (spec, MacAlgorithm, bytes) => {
    const { kms } = daemon();
    const { id: KeyId, arn } = await newExternalKey(kms, spec, 'GENERATE_VERIFY_MAC');
    const material = randomBytes(bytes);
    const parameters = await importParameters(kms, KeyId);
    const { $metadata: _, ...imported } = await kms.importKeyMaterial(importRequest(KeyId, parameters, material));
    expect(imported).toEqual({ KeyId: arn });
    const { Mac } = await kms.generateMac({ KeyId, Message: Plaintext, MacAlgorithm });
    const hash = MacAlgorithm.slice('HMAC_'.length).replace('SHA_', 'sha');
    expect(Buffer.from(present(Mac))).toEqual(createHmac(hash, material).update(Plaintext).digest());
    const metadata = await metadataOf(kms, KeyId);
    expect(metadata).toMatchObject({ KeyState: 'Enabled', ...lasting });
    expect(metadata.CurrentKeyMaterialId).toBeUndefined();
    for (const other of [bytes - 1, bytes + 1, 16]) {
      const wrong = importRequest(KeyId, parameters, randomBytes(other));
      expect(await refusal(kms.importKeyMaterial(wrong))).toEqual(incorrectMaterial);
    }
    expect(await refusal(kms.importKeyMaterial(importRequest(KeyId, parameters, randomBytes(bytes))))).toEqual(
      incorrectMaterial,
    );
  });

  const pairs = [
    ['RSA_2048', 'SIGN_VERIFY', 'RSA_AES_KEY_WRAP_SHA_256', 'RSASSA_PKCS1_V1_5_SHA_256', 'sha256'],
    ['ECC_NIST_P256', 'SIGN_VERIFY', 'RSAES_OAEP_SHA_256', 'ECDSA_SHA_256', 'sha256'],
    ['ECC_NIST_P384', 'SIGN_VERIFY', 'RSAES_OAEP_SHA_1', 'ECDSA_SHA_384', 'sha384'],
    ['ECC_NIST_P521', 'SIGN_VERIFY', 'RSA_AES_KEY_WRAP_SHA_1', 'ECDSA_SHA_512', 'sha512'],
    ...(token === 'nss'
      ? []
      : ([
          ['ECC_SECG_P256K1', 'SIGN_VERIFY', 'RSAES_OAEP_SHA_256', 'ECDSA_SHA_256', 'sha256'],
          ['ECC_NIST_EDWARDS25519', 'SIGN_VERIFY', 'RSAES_OAEP_SHA_256', 'ED25519_SHA_512', null],
        ] as const)),
  ] as const;
  test.each(pairs)(
    'of an %s key signs as the pair that it is',
    async (spec, usage, wrapping, SigningAlgorithm, hash) => {
      const { kms } = daemon();
      const { id: KeyId } = await newExternalKey(kms, spec, usage);
      const { privateKey, publicKey } = pairOf(spec);
      const parameters = await importParameters(kms, KeyId, wrapping);
      expect((await refusal(kms.getPublicKey({ KeyId }))).name).toBe('KMSInvalidStateException');
      await kms.importKeyMaterial(importRequest(KeyId, parameters, privateKey));
      expect(Buffer.from(present((await kms.getPublicKey({ KeyId })).PublicKey))).toEqual(publicKey);
      const signed = { KeyId, Message: Plaintext, SigningAlgorithm };
      const Signature = present((await kms.sign(signed)).Signature);
      expect(verify(hash, Plaintext, { key: publicKey, format: 'der', type: 'spki' }, Signature)).toBe(true);
      expect((await kms.verify({ ...signed, Signature })).SignatureValid).toBe(true);

      await kms.deleteImportedKeyMaterial({ KeyId });
      expect((await refusal(kms.sign(signed))).name).toBe('KMSInvalidStateException');
      const other = importRequest(KeyId, parameters, pairOf(spec).privateKey);
      expect(await refusal(kms.importKeyMaterial(other))).toEqual(incorrectMaterial);
      expect((await metadataOf(kms, KeyId)).KeyState).toBe('PendingImport');
      await kms.importKeyMaterial(importRequest(KeyId, parameters, privateKey));
      expect((await kms.verify({ ...signed, Signature })).SignatureValid).toBe(true);
    },
  );

  test('of one key is none of another, though it is the same', async () => {
    const { kms } = daemon();
    const material = randomBytes(32);
    const [one, other] = [await newExternalKey(kms), await newExternalKey(kms)];
    const first = await importMaterial(kms, one.id, material);
    const second = await importMaterial(kms, other.id, material);
    expect(first.KeyMaterialId).not.toBe(second.KeyMaterialId);
    const blob = await encrypted(kms, one.id);
    expect((await refusal(kms.decrypt({ CiphertextBlob: blob, KeyId: other.id }))).name).toBe('IncorrectKeyException');
    await kms.deleteImportedKeyMaterial({ KeyId: one.id });
    expect(await decrypted(kms, await encrypted(kms, other.id))).toEqual(Plaintext);
  });

  test('that two bring at once is there once, and works', async () => {
    const { kms } = daemon();
    const { id: KeyId } = await newExternalKey(kms);
    const parameters = await importParameters(kms, KeyId);
    const material = randomBytes(32);
    const request = () => kms.importKeyMaterial(importRequest(KeyId, parameters, material));
    const [one, other] = await Promise.all([request(), request()]);
    expect(one.KeyMaterialId).toBe(other.KeyMaterialId);
    expect(await decrypted(kms, await encrypted(kms, KeyId))).toEqual(Plaintext);
    await kms.deleteImportedKeyMaterial({ KeyId });
    const outcomes = await Promise.allSettled(
      [material, randomBytes(32), randomBytes(32)].map((bytes) =>
        kms.importKeyMaterial(importRequest(KeyId, parameters, bytes)),
      ),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
    expect(await decrypted(kms, await encrypted(kms, KeyId))).toEqual(Plaintext);
  });

  test('is not taken when it is damaged, empty, too long, or wrapped under another key', async () => {
    const { kms, socket } = daemon();
    const { id: KeyId } = await newExternalKey(kms);
    const [parameters, others] = [await importParameters(kms, KeyId), await importParameters(kms, KeyId)];
    const good = wrapped(parameters, randomBytes(32));
    const flipped = Buffer.from(good);
    flipped[10] = (flipped[10] ?? 0) ^ 1;
    const request = importRequest(KeyId, parameters, randomBytes(32));
    for (const EncryptedKeyMaterial of [
      flipped,
      good.subarray(1),
      Buffer.concat([good, Buffer.of(0)]),
      randomBytes(1),
      randomBytes(6144),
      wrapped(others, randomBytes(32)),
      wrapped({ ...parameters, WrappingAlgorithm: 'RSAES_OAEP_SHA_1' }, randomBytes(32)),
      wrapped({ ...parameters, WrappingAlgorithm: 'RSA_AES_KEY_WRAP_SHA_256' }, randomBytes(32)),
    ]) {
      const { name } = await refusal(kms.importKeyMaterial({ ...request, EncryptedKeyMaterial }));
      expect(name).toBe('InvalidCiphertextException');
    }
    for (const bytes of [1, 16, 24, 31, 33, 64]) {
      const wrong = importRequest(KeyId, parameters, randomBytes(bytes));
      expect(await refusal(kms.importKeyMaterial(wrong))).toEqual(incorrectMaterial);
    }
    const body = { KeyId, ...lasting, ImportToken: Buffer.from(parameters.ImportToken).toString('base64') };
    for (const [bytes, expected] of [
      [0, problem.blobTooShort('encryptedKeyMaterial', 1)],
      [6145, problem.blobTooLong('encryptedKeyMaterial', 6144)],
    ] as const) {
      const EncryptedKeyMaterial = Buffer.alloc(bytes).toString('base64');
      const answer = await call(socket, 'ImportKeyMaterial', { ...body, EncryptedKeyMaterial });
      expect(errorIn(answer)).toEqual(invalid(expected));
    }
    expect((await metadataOf(kms, KeyId)).KeyState).toBe('PendingImport');
    await kms.importKeyMaterial(request);
    expect((await metadataOf(kms, KeyId)).KeyState).toBe('Enabled');
  });

  const nssLacks = [
    ['ECC_SECG_P256K1', 'SIGN_VERIFY'],
    ['ECC_NIST_EDWARDS25519', 'SIGN_VERIFY'],
  ] as const;
  const refusedSpecs: readonly (readonly [KeySpec, KeyUsageType])[] = [
    ['ML_DSA_44', 'SIGN_VERIFY'],
    ['SM2', 'SIGN_VERIFY'],
    ...(token === 'nss' ? nssLacks : []),
  ];
  test.each(refusedSpecs)('of a %s key is not supported', async (spec, usage) => {
    const { name, message } = await refusal(newExternalKey(daemon().kms, spec, usage));
    expect(name).toBe('UnsupportedOperationException');
    expect(message).toContain(spec);
  });
});
