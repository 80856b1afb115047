/**
 * Key material that is brought here: wrapped by OpenSSL as a caller would do it, over both tokens, and held to what OpenSSL does with the
 * same material.
 */

import * as crypto from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  type KeyStore,
  type WrappedMaterial,
  type WrappingAlgorithm,
  type WrappingKeySpec,
  wrappingAlgorithms,
} from '../../src/hsm/key-store.ts';
import { assertTokenCanImport } from '../../src/keys/token-capabilities.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachToken } from '../support/tokens.ts';
import {
  fingerprintOf,
  fits,
  isHybrid,
  keyIdDigits,
  keyWrapPad,
  kinds,
  type Material,
  type MaterialKind,
  materialKinds,
  oaep,
  pairMaterial,
  rsaMaterial,
  wrap,
} from './import-kinds.ts';
import { missing } from './key-kinds.ts';
import { aad, failureOf, newKey, openStore, plaintextOf } from './test-store.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

interface WrappingKey {
  readonly wrappingKeyId: BackingKeyId;
  readonly publicKey: crypto.KeyObject;
}

/** The one answer to whatever is wrong with a ciphertext. */
const cannotUnwrap = {
  failure: 'ciphertextInvalid',
  message: 'examineImport: the wrapped key material cannot be unwrapped',
};
const label = 'drawbridge:test:1';

describeEachToken('A key store, its imports', (token) => {
  let keyStore: KeyStore;
  /** One wrapping pair of each size serves all tests. */
  const wrappingKeys = new Map<WrappingKeySpec, Promise<WrappingKey>>();
  beforeAll(async () => {
    keyStore = await openStore(token());
  });
  afterAll(() => keyStore.close());

  const newWrappingKey = async (wrappingKeySpec: WrappingKeySpec): Promise<WrappingKey> => {
    const wrappingKeyId = newBackingKeyId();
    const request = { backingKeyId: wrappingKeyId, label: 'drawbridge:wrapping:test', wrappingKeySpec };
    const { publicKey } = await keyStore.generateWrappingKey(request);
    return { wrappingKeyId, publicKey: crypto.createPublicKey({ key: publicKey, format: 'der', type: 'spki' }) };
  };
  const wrappingKeyOf = (wrappingKeySpec: WrappingKeySpec = 'RSA_2048'): Promise<WrappingKey> => {
    const key = wrappingKeys.get(wrappingKeySpec) ?? newWrappingKey(wrappingKeySpec);
    wrappingKeys.set(wrappingKeySpec, key);
    return key;
  };
  const requestOf = (
    { keySpec, keyUsage }: MaterialKind,
    wrappingAlgorithm: WrappingAlgorithm,
    { wrappingKeyId, publicKey }: WrappingKey,
    bytes: Buffer,
  ): WrappedMaterial => {
    const wrapped = wrap(wrappingAlgorithm, publicKey, bytes);
    return { wrappingKeyId, wrappingAlgorithm, wrapped, keyIdDigits, keySpec, keyUsage };
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
        const message = `examineImport: ${missing[token().profile]?.[kind.keySpec]}`;
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
          message: 'importKey: the key material is not the one that was expected',
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

  test.each(wrappingAlgorithms)('whatever is wrong with a ciphertext by %s is one failure', async (algorithm) => {
    const wrappingKey = await wrappingKeyOf();
    const { publicKey } = wrappingKey;
    const { bytes } = kinds.aes.make();
    const good = requestOf(kinds.aes, algorithm, wrappingKey, bytes);
    const { wrapped } = good;
    const raw = (encoded: Buffer) =>
      crypto.publicEncrypt({ key: publicKey, padding: crypto.constants.RSA_NO_PADDING }, encoded);
    const otherHash = algorithm.endsWith('_1') ? 'sha256' : 'sha1';
    const tail = wrapped.subarray(256);
    const wrong: Readonly<Record<string, Buffer>> = {
      empty: Buffer.alloc(0),
      'one byte': Buffer.alloc(1),
      huge: Buffer.alloc(64 * 1024, 7),
      'more than huge': Buffer.alloc(100_000),
      'random bytes': crypto.randomBytes(wrapped.length),
      zeroes: Buffer.alloc(wrapped.length),
      'not below the modulus': Buffer.concat([Buffer.alloc(256, 255), tail]),
      'a byte shorter': wrapped.subarray(1),
      'a byte longer': Buffer.concat([wrapped, Buffer.alloc(1)]),
      'a block longer': Buffer.concat([wrapped, Buffer.alloc(8)]),
      'its first byte damaged': damaged(wrapped, 3),
      'its last byte damaged': damaged(wrapped, wrapped.length - 1),
      'of another wrapping key': wrap(algorithm, crypto.createPublicKey(rsaMaterial(2048).privateKey ?? ''), bytes),
      'of the other hash': Buffer.concat([crypto.publicEncrypt({ key: publicKey, oaepHash: otherHash }, bytes), tail]),
      'a padding of zeroes': Buffer.concat([raw(Buffer.alloc(256)), tail]),
      'a first byte that is not zero': Buffer.concat([raw(Buffer.alloc(256, 1)), tail]),
      ...(isHybrid(algorithm)
        ? {
            'the AES key of 128 bits': wrap(algorithm, publicKey, bytes, crypto.randomBytes(16)),
            'the AES key of 192 bits': wrap(algorithm, publicKey, bytes, crypto.randomBytes(24)),
            'no AES key': Buffer.concat([oaep(algorithm, publicKey, Buffer.alloc(0)), tail]),
            'another AES key': Buffer.concat([oaep(algorithm, publicKey, bytes), keyWrapPad(Buffer.alloc(32), bytes)]),
            'nothing behind the AES key': wrapped.subarray(0, 256),
            'a block missing': wrapped.subarray(0, -8),
          }
        : { 'wrapped twice': wrap('RSA_AES_KEY_WRAP_SHA_256', publicKey, bytes) }),
    };
    for (const [what, each] of Object.entries(wrong))
      expect([what, await failureOf(keyStore.examineImport({ ...good, wrapped: each }))]).toEqual([what, cannotUnwrap]);
    for (const other of wrappingAlgorithms.filter((name) => name !== algorithm))
      expect(await failureOf(keyStore.examineImport({ ...good, wrappingAlgorithm: other }))).toEqual(cannotUnwrap);
    expect((await keyStore.examineImport(good)).publicKey).toBeNull();
    expect(keyStore.status().restarts).toBe(0);
  });

  test('any one bit of a ciphertext that is changed is noticed', async () => {
    const wrappingKey = await wrappingKeyOf();
    const wrapped = requestOf(kinds.aes, 'RSA_AES_KEY_WRAP_SHA_256', wrappingKey, kinds.aes.make().bytes);
    await fc.assert(
      fc.asyncProperty(fc.nat(wrapped.wrapped.length * 8 - 1), async (bit) => {
        const changed = { ...wrapped, wrapped: damaged(wrapped.wrapped, bit >> 3, 1 << (bit & 7)) };
        expect(await failureOf(keyStore.examineImport(changed))).toEqual(cannotUnwrap);
      }),
      { numRuns: 30 },
    );
  });

  test('secrets of every length but their own are refused', async () => {
    const wrappingKey = await wrappingKeyOf();
    const secrets = materialKinds.filter(({ keySpec }) => /^(SYMMETRIC|HMAC)/.test(keySpec));
    expect(secrets).toHaveLength(5);
    for (const kind of secrets) {
      const right = kind.make().bytes.length;
      const lengths = [0, 1, 16, 24, right - 1, right + 1, right + 8, 128].filter((length) => length !== right);
      for (const algorithm of ['RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256', 'RSA_AES_KEY_WRAP_SHA_1'] as const)
        for (const length of lengths.filter((each) => each > 0 || !isHybrid(algorithm))) {
          const request = requestOf(kind, algorithm, wrappingKey, Buffer.alloc(length, 5));
          expect([length, await failureOf(keyStore.examineImport(request))]).toEqual([
            length,
            {
              failure: 'materialInvalid',
              message: `examineImport: the key material has ${length} bytes, not ${right}`,
            },
          ]);
        }
    }
    expect(keyStore.status().restarts).toBe(0);
  });

  test('a private key that is not one of the KeySpec, and nothing but that, is refused', async () => {
    const wrappingKey = await wrappingKeyOf();
    const [p256, rsa] = [kinds.p256.make().bytes, kinds.rsa2048.make().bytes];
    const ofCurve = (namedCurve: string) =>
      pairMaterial(crypto.generateKeyPairSync('ec', { namedCurve }).privateKey).bytes;
    const small = pairMaterial(crypto.generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey).bytes;
    const cases: readonly (readonly [kind: MaterialKind, bytes: Buffer, message: RegExp])[] = [
      [kinds.p256, ofCurve('secp384r1'), /is not on NIST P-256$/],
      [kinds.p256, ofCurve('secp256k1'), /is not on NIST P-256$/],
      [kinds.p256, rsa, /is not one of NIST P-256$/],
      [kinds.p256, Buffer.concat([p256, Buffer.alloc(1)]), /there are bytes behind it$/],
      [kinds.p256, p256.subarray(0, -1), /it ends inside of a value$/],
      [kinds.p256, crypto.randomBytes(138), /is not one PKCS#8 in DER: /],
      [kinds.p256, crypto.randomBytes(32), /is not one PKCS#8 in DER: /],
      [kinds.rsa2048, small, /the modulus has 1024 bits, not 2048$/],
      [kinds.rsa2048, p256, /is not one of RSA$/],
      [kinds.rsa2048, Buffer.concat([rsa, rsa]), /there are bytes behind it$/],
      [kinds.rsa2048, rsa.subarray(0, 500), /it ends inside of a value$/],
      [kinds.rsa2048, damaged(rsa, rsa.length - 1), /do not belong together$/],
      [kinds.aes, p256, /the key material has 138 bytes, not 32$/],
    ];
    for (const [kind, bytes, message] of cases) {
      const { failure, message: said } = await failureOf(
        keyStore.examineImport(requestOf(kind, 'RSA_AES_KEY_WRAP_SHA_256', wrappingKey, bytes)),
      );
      expect(failure).toBe('materialInvalid');
      expect(said).toMatch(message);
    }
    expect(keyStore.status().restarts).toBe(0);
  });

  test('a wrapping key is for nothing else, and nothing else is a wrapping key', async () => {
    const wrappingKey = await wrappingKeyOf();
    const { wrappingKeyId: backingKeyId, publicKey } = wrappingKey;
    const described = await keyStore.describeKey({ backingKeyId });
    expect(described).toMatchObject({ label: 'drawbridge:wrapping:test', sensitive: true, extractable: false });
    const decrypts = token().profile === 'softhsm2' ? ['CKA_DECRYPT'] : [];
    expect(described.usages).toEqual(expect.arrayContaining(['CKA_UNWRAP']));
    expect(described.usages).toHaveLength(1 + decrypts.length);
    expect(await keyStore.listKeys()).toContainEqual({ backingKeyId, label: 'drawbridge:wrapping:test' });

    const good = requestOf(kinds.aes, 'RSAES_OAEP_SHA_1', wrappingKey, kinds.aes.make().bytes);
    for (const algorithm of ['RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256'] as const) {
      const ciphertext = oaep(algorithm, publicKey, aad.subarray(0, 9));
      const refused = await failureOf(keyStore.decryptAsymmetric({ backingKeyId, algorithm, ciphertext }));
      expect(refused.failure).toBe('keyUnavailable');
    }
    const sign = {
      backingKeyId,
      algorithm: 'RSASSA_PSS_SHA_256',
      content: 'DIGEST',
      message: Buffer.alloc(32),
    } as const;
    expect((await failureOf(keyStore.sign(sign))).failure).toBe('keyUnavailable');
    const plaintext = plaintextOf('x');
    expect((await failureOf(keyStore.encrypt({ backingKeyId, aad, plaintext }))).failure).toBe('keyUnavailable');

    const id = newBackingKeyId();
    await keyStore.generateKey({ backingKeyId: id, label, keySpec: 'RSA_2048', keyUsage: 'ENCRYPT_DECRYPT' });
    for (const wrappingKeyId of [id, await newKey(keyStore), newBackingKeyId()])
      expect((await failureOf(keyStore.examineImport({ ...good, wrappingKeyId }))).failure).toBe('keyUnavailable');
    await keyStore.destroyKey({ backingKeyId: id });
  });

  test('labels tell wrapping keys and others apart, and what there is not is refused by name', async () => {
    const backingKeyId = newBackingKeyId();
    const wrappingKeySpec = 'RSA_2048';
    const theirs = 'drawbridge:wrapping:1';
    const generation = { backingKeyId, keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    const good = requestOf(kinds.aes, 'RSAES_OAEP_SHA_1', await wrappingKeyOf(), kinds.aes.make().bytes);
    const fingerprint = Buffer.alloc(32);
    const refusals = await Promise.all([
      failureOf(keyStore.generateWrappingKey({ backingKeyId, label, wrappingKeySpec })),
      failureOf(keyStore.generateKey({ ...generation, label: theirs })),
      failureOf(keyStore.importKey({ ...good, backingKeyId, label: theirs, fingerprint })),
      failureOf(keyStore.importKey({ ...good, backingKeyId, label: 'mine', fingerprint })),
      failureOf(keyStore.generateWrappingKey({ backingKeyId, label: theirs, wrappingKeySpec: 'RSA_1024' as never })),
      failureOf(keyStore.examineImport({ ...good, wrappingAlgorithm: 'RSAES_PKCS1_V1_5' as never })),
      failureOf(keyStore.examineImport({ ...good, keySpec: 'ML_DSA_44', keyUsage: 'SIGN_VERIFY' })),
      failureOf(keyStore.examineImport({ ...good, keyUsage: 'SIGN_VERIFY' })),
    ]);
    expect(refusals.map(({ message }) => message)).toEqual([
      'generateWrappingKey: the label of a wrapping key is drawbridge:wrapping:…',
      'generateKey: drawbridge:wrapping:… is the label of wrapping keys alone',
      'importKey: drawbridge:wrapping:… is the label of wrapping keys alone',
      'importKey: a label is drawbridge:… and at most 100 bytes of ASCII',
      'generateWrappingKey: there are no wrapping keys of `RSA_1024`',
      'examineImport: there is no wrapping algorithm `RSAES_PKCS1_V1_5`',
      'examineImport: no import of such keys is built',
      'examineImport: KeySpec SYMMETRIC_DEFAULT has no KeyUsage `SIGN_VERIFY`',
    ]);
  });

  test('a wrapping key that was destroyed unwraps nothing more', async () => {
    const wrappingKey = await newWrappingKey('RSA_2048');
    const request = requestOf(kinds.aes, 'RSA_AES_KEY_WRAP_SHA_1', wrappingKey, kinds.aes.make().bytes);
    await keyStore.examineImport(request);
    await keyStore.destroyKey({ backingKeyId: wrappingKey.wrappingKeyId });
    expect((await failureOf(keyStore.examineImport(request))).failure).toBe('keyUnavailable');
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

function damaged(bytes: Buffer, at: number, mask = 1): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ mask, at);
  return copy;
}

/** Another RSA-2048 key than the one that serves all tests. */
function rsaMaterialOf(): Material {
  return pairMaterial(crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
}
