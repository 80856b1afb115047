/** ML-DSA keys over a token that has them, held to `node:crypto` as the independent implementation. */

import * as crypto from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { GeneratedKey, KeyStore } from '../../src/hsm/key-store.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { describeToken, mlDsaToken } from '../support/tokens.ts';
import { protectedKey } from './protected-key.ts';
import { aad, failureOf, newKey, openStore } from './test-store.ts';

const algorithm = 'ML_DSA_SHAKE_256';
/** FIPS 204, table 2. */
const sizes = {
  ML_DSA_44: { type: 'ml-dsa-44', publicKeyBytes: 1312, signatureBytes: 2420 },
  ML_DSA_65: { type: 'ml-dsa-65', publicKeyBytes: 1952, signatureBytes: 3309 },
  ML_DSA_87: { type: 'ml-dsa-87', publicKeyBytes: 2592, signatureBytes: 4627 },
} as const;
type MlDsa = keyof typeof sizes;
const keySpecs = Object.keys(sizes) as readonly MlDsa[];

describeToken(mlDsaToken, 'A key store, its ML-DSA keys', (token) => {
  let keyStore: KeyStore;
  const made = new Map<MlDsa, GeneratedKey>();
  const generate = (keySpec: MlDsa, backingKeyId = newBackingKeyId()) =>
    keyStore.generateKey({ backingKeyId, label: 'drawbridge:test:1', keySpec, keyUsage: 'SIGN_VERIFY' });
  beforeAll(async () => {
    keyStore = await openStore(token());
    for (const keySpec of keySpecs) made.set(keySpec, await generate(keySpec));
  });
  afterAll(() => keyStore.close());

  const keyOf = (keySpec: MlDsa): GeneratedKey => {
    const key = made.get(keySpec);
    if (key === undefined) throw new Error(`there is no ${keySpec} key`);
    return key;
  };
  const publicKeyOf = ({ publicKey }: GeneratedKey) =>
    crypto.createPublicKey({ key: publicKey ?? Buffer.alloc(0), format: 'der', type: 'spki' });
  const sign = (backingKeyId: BackingKeyId, message: Buffer) =>
    keyStore.sign({ backingKeyId, algorithm, content: 'RAW', message });

  test.each(keySpecs)('%s was probed, and works', (keySpec) => {
    const rows = keyStore.capabilities().capabilities.filter((row) => row.keySpec === keySpec);
    const row = { keySpec, keyUsage: 'SIGN_VERIFY', works: true, evidence: 'probed' };
    expect(rows).toEqual([
      { ...row, algorithm: 'KEY_GENERATION', reason: null },
      { ...row, algorithm, reason: 'signs RAW messages; no mechanism of PKCS#11 3.2 signs an EXTERNAL_MU' },
    ]);
  });

  test.each(keySpecs)(
    'a pair of %s cannot leave the token, and its two halves live and die together',
    async (keySpec) => {
      const { publicKey, ...attributes } = keyOf(keySpec);
      expect(attributes).toMatchObject({
        objectClass: 'CKO_PRIVATE_KEY',
        keyType: 'CKK_ML_DSA',
        keyBits: sizes[keySpec].publicKeyBytes * 8,
        ...protectedKey,
        local: true,
        usages: ['CKA_SIGN'],
      });
      const { backingKeyId } = attributes;
      expect(await keyStore.describeKey({ backingKeyId })).toEqual(attributes);
      const known = publicKeyOf({ ...attributes, publicKey });
      expect(known.asymmetricKeyType).toBe(sizes[keySpec].type);
      expect(known.export({ type: 'spki', format: 'der' })).toEqual(publicKey);
      const shortLived = newBackingKeyId();
      for (let round = 0; round < 2; round++) {
        await generate(keySpec, shortLived);
        await keyStore.destroyKey({ backingKeyId: shortLived });
      }
      expect((await failureOf(sign(shortLived, aad))).message).toBe(
        'cannot sign: no object in the token has this CKA_ID',
      );
    },
  );

  test.each(keySpecs)('%s signs what OpenSSL verifies, and nothing else', async (keySpec) => {
    const key = keyOf(keySpec);
    const publicKey = publicKeyOf(key);
    for (const length of [1, 200, 4096]) {
      const message = crypto.randomBytes(length);
      const signature = await sign(key.backingKeyId, message);
      expect(signature).toHaveLength(sizes[keySpec].signatureBytes);
      expect(crypto.verify(null, message, publicKey, signature)).toBe(true);
      message.writeUInt8(message.readUInt8(0) ^ 1);
      expect(crypto.verify(null, message, publicKey, signature)).toBe(false);
    }
    const twice = await Promise.all([sign(key.backingKeyId, aad), sign(key.backingKeyId, aad)]);
    expect(twice[0]).not.toEqual(twice[1]); // Hedged: FIPS 204, section 3.4.
  });

  test('what such a key is not for is refused, and the key works on', async () => {
    const { backingKeyId } = keyOf('ML_DSA_44');
    const ec = await newKey(keyStore, 'ECC_NIST_P256');
    const wrapper = await newKey(keyStore);
    const digest = Buffer.alloc(32);
    const spki = crypto
      .generateKeyPairSync('ec', { namedCurve: 'P-256' })
      .publicKey.export({ type: 'spki', format: 'der' });
    const refusals: readonly [call: () => Promise<unknown>, failure: string, message: string][] = [
      [
        () => keyStore.sign({ backingKeyId, algorithm: 'ECDSA_SHA_256', content: 'DIGEST', message: digest }),
        'keyUnavailable',
        'cannot sign: the key is not of the type CKK_EC',
      ],
      [() => sign(ec, aad), 'keyUnavailable', 'cannot sign: the key is not of the type CKK_ML_DSA'],
      [
        () => keyStore.sign({ backingKeyId, algorithm, content: 'DIGEST', message: digest }),
        'internal',
        'cannot sign: ML_DSA_SHAKE_256 signs a RAW, not a DIGEST',
      ],
      [() => sign(backingKeyId, Buffer.alloc(0)), 'internal', 'cannot sign: a message has at least one byte'],
      [
        () => keyStore.deriveSharedSecret({ backingKeyId, publicKey: spki }),
        'keyUnavailable',
        'cannot derive a shared secret: the key is not of the type CKK_EC',
      ],
      [
        () =>
          keyStore.decryptAsymmetric({ backingKeyId, algorithm: 'RSAES_OAEP_SHA_256', ciphertext: Buffer.alloc(256) }),
        'keyUnavailable',
        'cannot decrypt with a private key: the key is not of the type CKK_RSA',
      ],
      [
        () =>
          keyStore.generateDataKeyPair({ backingKeyId: wrapper, aad, keyPairSpec: 'ML_DSA_65', withPlaintext: true }),
        'unsupported',
        'cannot make a data key pair: KMS has no data key pairs of ML_DSA_65',
      ],
    ];
    for (const [call, failure, message] of refusals) expect(await failureOf(call())).toEqual({ failure, message });
    expect(keyStore.status().restarts).toBe(0);
    expect(await sign(backingKeyId, aad)).toHaveLength(sizes.ML_DSA_44.signatureBytes);
  });

  test('signatures go on when the host is lost in the middle of them', async () => {
    const key = keyOf('ML_DSA_65');
    const restarts = keyStore.status().restarts;
    const messages = Array.from({ length: 40 }, (_, index) => Buffer.from(`message ${index}`));
    const signed = Promise.all(messages.map((message) => sign(key.backingKeyId, message)));
    const [pid] = keyStore.status().pids;
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    const signatures = await signed;
    signatures.forEach((signature, index) => {
      expect(crypto.verify(null, messages[index] ?? aad, publicKeyOf(key), signature)).toBe(true);
    });
    expect(keyStore.status().restarts).toBe(restarts + 1);
  });
});
