/**
 * Key material that is brought here: wrapped by OpenSSL as a caller would do it, over both tokens, and held to what OpenSSL does with the
 * same material.
 */

import * as crypto from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type KeyStore,
  type WrappedMaterial,
  type WrappingAlgorithm,
  type WrappingKeySpec,
  wrappingAlgorithms,
} from '../../src/hsm/key-store.ts';
import { assertTokenCanImport } from '../../src/keys/token-capabilities.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachToken } from '../support/tokens.ts';
import {
  fingerprintOf,
  fits,
  keyIdDigits,
  kinds,
  type Material,
  type MaterialKind,
  materialKinds,
  newWrappingKey,
  pairMaterial,
  requestOf,
  type WrappingKey,
} from './import-kinds.ts';
import { missing } from './key-kinds.ts';
import { aad, failureOf, openStore, plaintextOf } from './test-store.ts';

const label = 'drawbridge:test:1';

describeEachToken('A key store, its imports', (token) => {
  let keyStore: KeyStore;
  /** One wrapping pair of each size serves all tests. */
  const wrappingKeys = new Map<WrappingKeySpec, Promise<WrappingKey>>();
  beforeAll(async () => {
    keyStore = await openStore(token());
  });
  afterAll(() => keyStore.close());

  const wrappingKeyOf = (wrappingKeySpec: WrappingKeySpec = 'RSA_2048'): Promise<WrappingKey> => {
    const key = wrappingKeys.get(wrappingKeySpec) ?? newWrappingKey(keyStore, wrappingKeySpec);
    wrappingKeys.set(wrappingKeySpec, key);
    return key;
  };
  const importOf = async (request: WrappedMaterial, backingKeyId = newBackingKeyId()) => {
    const { fingerprint } = await keyStore.examineImport(request);
    return keyStore.importKey({ ...request, backingKeyId, label, fingerprint });
  };
  const isHeld = ({ keySpec }: MaterialKind) => missing[token().profile]?.[keySpec] === undefined;

  const roundTrip = async (
    kind: MaterialKind,
    material: Material,
    wrappingAlgorithm: WrappingAlgorithm,
    wrappingKey: WrappingKey,
  ) => {
    const request = requestOf(kind, wrappingAlgorithm, wrappingKey, material.bytes);
    const examined = await keyStore.examineImport(request);
    expect(examined.fingerprint).toEqual(fingerprintOf(kind.keySpec, material));
    const backingKeyId = newBackingKeyId();
    const key = await keyStore.importKey({ ...request, ...examined, backingKeyId, label });
    const publicKey = material.privateKey === null ? null : material.answer();
    expect(examined.publicKey).toEqual(publicKey);
    expect(key).toMatchObject({
      backingKeyId,
      label,
      token: true,
      private: true,
      sensitive: true,
      extractable: false,
      local: false,
      usages: kind.usages,
      publicKey,
    });
    await kind.check(keyStore, key, material);
    const { publicKey: _, ...attributes } = key;
    expect(await keyStore.describeKey({ backingKeyId })).toEqual(attributes);
    await keyStore.destroyKey({ backingKeyId });
    expect((await failureOf(keyStore.describeKey({ backingKeyId }))).failure).toBe('keyUnavailable');
  };

  test.each(materialKinds)('$keySpec for $keyUsage comes in by every algorithm that it fits', async (kind) => {
    const material = kind.make();
    for (const wrappingAlgorithm of wrappingAlgorithms) {
      const wrappingKey = await wrappingKeyOf();
      if (!fits(wrappingAlgorithm, wrappingKey.publicKey, material.bytes)) continue;
      if (isHeld(kind)) await roundTrip(kind, material, wrappingAlgorithm, wrappingKey);
      else {
        const request = requestOf(kind, wrappingAlgorithm, wrappingKey, material.bytes);
        const message = `cannot look at key material: ${missing[token().profile]?.[kind.keySpec]}`;
        expect(await failureOf(keyStore.examineImport(request))).toEqual({ failure: 'unsupported', message });
      }
    }
    expect(keyStore.status().restarts).toBe(0);
  });

  test.each(['RSA_3072', 'RSA_4096'] as const)('a wrapping key of %s unwraps as well', async (wrappingKeySpec) => {
    const wrappingKey = await wrappingKeyOf(wrappingKeySpec);
    expect(wrappingKey.publicKey.asymmetricKeyDetails?.modulusLength).toBe(Number(wrappingKeySpec.slice(4)));
    const p521 = materialKinds.find(({ keySpec }) => keySpec === 'ECC_NIST_P521') ?? kinds.p256;
    for (const kind of [kinds.aes, p521])
      for (const algorithm of ['RSAES_OAEP_SHA_1', 'RSA_AES_KEY_WRAP_SHA_256'] as const)
        await roundTrip(kind, kind.make(), algorithm, wrappingKey);
  });

  test('the fingerprint is bound to the KMS key and to the material', async () => {
    const wrappingKey = await wrappingKeyOf();
    for (const kind of [kinds.aes, kinds.hmac256, kinds.p256]) {
      const [material, other] = [kind.make(), kind.make()];
      const of = async (bytes: Buffer, digits = keyIdDigits, algorithm: WrappingAlgorithm = 'RSAES_OAEP_SHA_1') => {
        const request = { ...requestOf(kind, algorithm, wrappingKey, bytes), keyIdDigits: digits };
        return (await keyStore.examineImport(request)).fingerprint.toString('hex');
      };
      const fingerprint = await of(material.bytes);
      expect(await of(material.bytes, keyIdDigits, 'RSA_AES_KEY_WRAP_SHA_256')).toBe(fingerprint);
      expect(await of(other.bytes)).not.toBe(fingerprint);
      expect(await of(material.bytes, keyIdDigits.replace('1', '2'))).not.toBe(fingerprint);
    }
  });

  test('material of another fingerprint is refused, and nothing of it stays', async () => {
    const before = await keyStore.listKeys();
    for (const kind of [kinds.aes, kinds.p256]) {
      const request = requestOf(kind, 'RSAES_OAEP_SHA_1', await wrappingKeyOf(), kind.make().bytes);
      for (const fingerprint of [crypto.randomBytes(32), Buffer.alloc(0), Buffer.alloc(33)])
        expect(
          await failureOf(keyStore.importKey({ ...request, backingKeyId: newBackingKeyId(), label, fingerprint })),
        ).toEqual({
          failure: 'materialInvalid',
          message: 'cannot import key material: the key material is not the one that was expected',
        });
    }
    expect(await keyStore.listKeys()).toEqual(before);
  });

  test('an import that is there already is kept, and another key in its place as well', async () => {
    const wrappingKey = await wrappingKeyOf();
    for (const kind of [kinds.aes, kinds.hmac256, kinds.p256, kinds.rsa2048]) {
      const material = kind.make();
      const request = requestOf(kind, 'RSA_AES_KEY_WRAP_SHA_1', wrappingKey, material.bytes);
      const first = await importOf(request);
      const { backingKeyId } = first;
      const again = requestOf(kind, 'RSA_AES_KEY_WRAP_SHA_256', wrappingKey, material.bytes);
      expect(await importOf(again, backingKeyId)).toEqual(first);
      const other = kind === kinds.rsa2048 ? rsaMaterialOf() : kind.make();
      const wrong = requestOf(kind, 'RSA_AES_KEY_WRAP_SHA_1', wrappingKey, other.bytes);
      expect((await failureOf(importOf(wrong, backingKeyId))).failure).toBe('materialInvalid');
      await kind.check(keyStore, first, material);
      expect((await keyStore.listKeys()).filter((key) => key.backingKeyId === backingKeyId)).toHaveLength(1);
      await keyStore.destroyKey({ backingKeyId });
    }
  });

  test('material that was destroyed and imported again opens what was encrypted before', async () => {
    const wrappingKey = await wrappingKeyOf();
    const { bytes } = kinds.aes.make();
    const { backingKeyId } = await importOf(requestOf(kinds.aes, 'RSAES_OAEP_SHA_256', wrappingKey, bytes));
    const encrypted = await keyStore.encrypt({ backingKeyId, aad, plaintext: plaintextOf('from before') });
    await keyStore.destroyKey({ backingKeyId });
    await importOf(requestOf(kinds.aes, 'RSA_AES_KEY_WRAP_SHA_1', wrappingKey, bytes), backingKeyId);
    const decrypted = await keyStore.decrypt({ backingKeyId, aad, ...encrypted });
    expect(decrypted.reveal().toString()).toBe('from before');
  });

  test('what can be imported is told before, every way of wrapping having been tried', () => {
    const { imports } = keyStore.capabilities();
    const outside = token().profile === 'softhsm2' ? 'the host removes the padding' : null;
    expect(imports.slice(0, 4)).toEqual(
      wrappingAlgorithms.map((subject) => ({
        subject,
        works: true,
        evidence: 'probed',
        reason: subject.endsWith('_256') ? outside : null,
      })),
    );
    for (const kind of materialKinds)
      expect(imports).toContainEqual({
        subject: kind.keySpec,
        works: isHeld(kind),
        evidence: 'reported',
        reason: missing[token().profile]?.[kind.keySpec] ?? null,
      });
    for (const { keySpec } of materialKinds.filter(isHeld))
      for (const algorithm of wrappingAlgorithms) assertTokenCanImport(keyStore, keySpec, algorithm);
    for (const keySpec of [
      'SM2',
      'ML_DSA_44',
      ...materialKinds.filter((kind) => !isHeld(kind)).map((kind) => kind.keySpec),
    ] as const)
      expect(() => assertTokenCanImport(keyStore, keySpec, 'RSAES_OAEP_SHA_1')).toThrow(
        /^Import of key material for KeySpec [A-Z0-9_]+ is not supported by the HSM: .+\.$/,
      );
  });
});

/** Another RSA-2048 key than the one that serves all tests. */
function rsaMaterialOf(): Material {
  return pairMaterial(crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
}
