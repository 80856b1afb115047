/** What cannot be imported, over both tokens: damaged and foreign ciphertexts, material of another kind, keys that wrap nothing. */

import * as crypto from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type KeyStore, wrappingAlgorithms } from '../../src/hsm/key-store.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachToken } from '../support/tokens.ts';
import {
  damaged,
  falseRsaKeys,
  isHybrid,
  keyWrapPad,
  kinds,
  type MaterialKind,
  materialKinds,
  newWrappingKey,
  oaep,
  pairMaterial,
  requestOf,
  rsaMaterial,
  type WrappingKey,
  wrap,
  wrappingLabel,
} from './import-kinds.ts';
import { aad, failureOf, newKey, openStore, plaintextOf } from './test-store.ts';

/** The one answer to whatever is wrong with a ciphertext. */
const cannotUnwrap = {
  failure: 'ciphertextInvalid',
  message: 'cannot look at key material: the wrapped key material cannot be unwrapped',
};
const label = 'drawbridge:test:1';

describeEachToken('A key store, imports that it refuses', (token) => {
  let keyStore: KeyStore;
  /** One wrapping pair serves all tests. */
  let wrappingKey: WrappingKey;
  beforeAll(async () => {
    keyStore = await openStore(token());
    wrappingKey = await newWrappingKey(keyStore);
  });
  afterAll(() => keyStore.close());

  test.each(wrappingAlgorithms)('whatever is wrong with a ciphertext by %s is one failure', async (algorithm) => {
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
              message: `cannot look at key material: the key material has ${length} bytes, not ${right}`,
            },
          ]);
        }
    }
    expect(keyStore.status().restarts).toBe(0);
  });

  test('a private key that is not one of the KeySpec, and nothing but that, is refused', async () => {
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

  test('an RSA key whose numbers agree with each other, and that is none, does not reach the token', async () => {
    for (const [what, bytes, said] of falseRsaKeys()) {
      const request = requestOf(kinds.rsa2048, 'RSA_AES_KEY_WRAP_SHA_256', wrappingKey, bytes);
      const { failure, message } = await failureOf(keyStore.examineImport(request));
      expect([what, failure, message]).toEqual([what, 'materialInvalid', expect.stringMatching(said)]);
    }
    expect(keyStore.status().restarts).toBe(0);
  });

  test('a wrapping key is for nothing else, and nothing else is a wrapping key', async () => {
    const { wrappingKeyId: backingKeyId, publicKey } = wrappingKey;
    const described = await keyStore.describeKey({ backingKeyId });
    expect(described).toMatchObject({ label: wrappingLabel, sensitive: true, extractable: false });
    const decrypts = token().profile === 'softhsm2' ? ['CKA_DECRYPT'] : [];
    expect(described.usages).toEqual(expect.arrayContaining(['CKA_UNWRAP']));
    expect(described.usages).toHaveLength(1 + decrypts.length);
    expect(await keyStore.listKeys()).toContainEqual({ backingKeyId, label: wrappingLabel });

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
    const good = requestOf(kinds.aes, 'RSAES_OAEP_SHA_1', wrappingKey, kinds.aes.make().bytes);
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
      'cannot make a wrapping key: the label of a wrapping key is drawbridge:wrapping:…',
      'cannot make a key: drawbridge:wrapping:… is the label of another kind of keys alone',
      'cannot import key material: drawbridge:wrapping:… is the label of another kind of keys alone',
      'cannot import key material: a label is drawbridge:… and at most 100 bytes of ASCII',
      'cannot make a wrapping key: there are no wrapping keys of `RSA_1024`',
      'cannot look at key material: there is no wrapping algorithm `RSAES_PKCS1_V1_5`',
      'cannot look at key material: no import of such keys is built',
      'cannot look at key material: KeySpec SYMMETRIC_DEFAULT has no KeyUsage `SIGN_VERIFY`',
    ]);
  });

  test('a wrapping key that was destroyed unwraps nothing more', async () => {
    const ended = await newWrappingKey(keyStore);
    const request = requestOf(kinds.aes, 'RSA_AES_KEY_WRAP_SHA_1', ended, kinds.aes.make().bytes);
    await keyStore.examineImport(request);
    await keyStore.destroyKey({ backingKeyId: ended.wrappingKeyId });
    expect((await failureOf(keyStore.examineImport(request))).failure).toBe('keyUnavailable');
  });
});
