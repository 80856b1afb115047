/** Every kind of key and algorithm over both tokens, held to `node:crypto` as the independent implementation. */

import * as crypto from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { GeneratedKey, KeyStore, SignedContent } from '../../src/hsm/key-store.ts';
import type { KeySpec, KeyUsage } from '../../src/kms/key-specs.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachToken } from '../support/tokens.ts';
import { missing, pairs, type SigningCase, signing } from './key-kinds.ts';
import { protectedKey } from './protected-key.ts';
import { aad, failureOf, newKey, openStore } from './test-store.ts';

const spki = (key: crypto.KeyObject) => key.export({ type: 'spki', format: 'der' });
const publicKeyOf = (key: GeneratedKey): crypto.KeyObject =>
  crypto.createPublicKey({ key: key.publicKey ?? Buffer.alloc(0), format: 'der', type: 'spki' });

describeEachToken('A key store, key by key', (token) => {
  let keyStore: KeyStore;
  const made = new Map<string, Promise<GeneratedKey>>();
  beforeAll(async () => {
    keyStore = await openStore(token());
  });
  afterAll(() => keyStore.close());

  const generate = (keySpec: KeySpec, keyUsage: KeyUsage, backingKeyId = newBackingKeyId()) =>
    keyStore.generateKey({ backingKeyId, label: 'drawbridge:test:1', keySpec, keyUsage });
  /** One key of each kind serves all tests. */
  const keyOf = (keySpec: KeySpec, keyUsage: KeyUsage): Promise<GeneratedKey> => {
    const name = `${keySpec} ${keyUsage}`;
    const key = made.get(name) ?? generate(keySpec, keyUsage);
    made.set(name, key);
    return key;
  };
  const whyMissing = (keySpec: KeySpec) => missing[token().profile]?.[keySpec];
  const signed = (backingKeyId: BackingKeyId, { algorithm, hash }: SigningCase, message: Buffer) => {
    const content: SignedContent = hash === null ? 'RAW' : 'DIGEST';
    const given = hash === null ? message : crypto.createHash(hash).update(message).digest();
    return keyStore.sign({ backingKeyId, algorithm, content, message: given });
  };

  test.each(pairs)(
    'a pair of %s cannot leave the token, and its two halves live and die together',
    async (keySpec, expected) => {
      const refusal = whyMissing(keySpec);
      if (refusal !== undefined) {
        const message = `cannot make a key: ${refusal}`;
        expect(await failureOf(generate(keySpec, 'SIGN_VERIFY'))).toEqual({ failure: 'unsupported', message });
        return;
      }
      const { publicKey, ...attributes } = await keyOf(keySpec, 'SIGN_VERIFY');
      expect(attributes).toMatchObject({
        ...expected,
        objectClass: 'CKO_PRIVATE_KEY',
        ...protectedKey,
        usages: ['CKA_SIGN'],
      });
      const { backingKeyId } = attributes;
      expect(await keyStore.describeKey({ backingKeyId })).toEqual(attributes);
      expect((await keyStore.listKeys()).filter((key) => key.backingKeyId === backingKeyId)).toHaveLength(1);
      expect(spki(publicKeyOf({ ...attributes, publicKey }))).toEqual(publicKey);

      if (keySpec !== 'ECC_NIST_P256') return;
      const again = 'cannot make a key: an object with this CKA_ID is in the token already';
      expect((await failureOf(generate(keySpec, 'SIGN_VERIFY', backingKeyId))).message).toBe(again);
      const shortLived = (await generate(keySpec, 'SIGN_VERIFY')).backingKeyId;
      await keyStore.destroyKey({ backingKeyId: shortLived });
      // Neither half is left to be in the way.
      await generate(keySpec, 'SIGN_VERIFY', shortLived);
      await keyStore.destroyKey({ backingKeyId: shortLived });
    },
  );

  test.each(signing)('$keySpec signs by $algorithm what OpenSSL verifies, and nothing else', async (row) => {
    if (whyMissing(row.keySpec) !== undefined) return;
    const key = await keyOf(row.keySpec, 'SIGN_VERIFY');
    const message = crypto.randomBytes(200);
    const signature = await signed(key.backingKeyId, row, message);
    const saltLength = crypto.constants.RSA_PSS_SALTLEN_DIGEST;
    const padding = crypto.constants.RSA_PKCS1_PSS_PADDING;
    const verifier = { key: publicKeyOf(key), ...(row.pss === undefined ? {} : { padding, saltLength }) };
    expect(crypto.verify(row.hash, message, verifier, signature)).toBe(true);
    message.writeUInt8(message.readUInt8(0) ^ 1);
    expect(crypto.verify(row.hash, message, verifier, signature)).toBe(false);
  });

  test('ECDSA signatures are DER whatever the first bits of r and s are', async () => {
    const { backingKeyId, publicKey } = await keyOf('ECC_NIST_P256', 'SIGN_VERIFY');
    const key = crypto.createPublicKey({ key: publicKey ?? Buffer.alloc(0), format: 'der', type: 'spki' });
    const row = { keySpec: 'ECC_NIST_P256', algorithm: 'ECDSA_SHA_256', hash: 'sha256' } as const;
    const messages = Array.from({ length: 100 }, (_, index) => Buffer.from(`message ${index}`));
    const signatures = await Promise.all(messages.map((message) => signed(backingKeyId, row, message)));
    signatures.forEach((signature, index) => {
      expect(crypto.verify('sha256', messages[index] ?? aad, key, signature)).toBe(true);
    });
    expect(new Set(signatures.map(({ length }) => length)).size).toBeGreaterThan(1);
  });

  test.each([
    ['RSA_2048', 'RSAES_OAEP_SHA_1', 'sha1', 214],
    ['RSA_2048', 'RSAES_OAEP_SHA_256', 'sha256', 190],
    ['RSA_4096', 'RSAES_OAEP_SHA_256', 'sha256', 446],
  ] as const)(
    '%s decrypts by %s what OpenSSL encrypted, and refuses everything else alike',
    async (keySpec, algorithm, oaepHash, most) => {
      const key = await keyOf(keySpec, 'ENCRYPT_DECRYPT');
      const { backingKeyId } = key;
      const encrypt = (message: Buffer, hash: string = oaepHash) =>
        crypto.publicEncrypt({ key: publicKeyOf(key), oaepHash: hash }, message);
      const decrypt = (ciphertext: Buffer) => keyStore.decryptAsymmetric({ backingKeyId, algorithm, ciphertext });
      for (const size of [0, 1, 32, most]) {
        const message = crypto.randomBytes(size);
        expect((await decrypt(encrypt(message))).reveal()).toEqual(message);
      }
      const good = encrypt(Buffer.from('x'));
      const flipped = Buffer.from(good);
      flipped.writeUInt8(flipped.readUInt8(good.length - 1) ^ 1, good.length - 1);
      const raw = (encoded: Buffer) =>
        crypto.publicEncrypt({ key: publicKeyOf(key), padding: crypto.constants.RSA_NO_PADDING }, encoded);
      const wrong: Readonly<Record<string, Buffer>> = {
        flipped,
        'of the other hash': encrypt(Buffer.from('x'), oaepHash === 'sha1' ? 'sha256' : 'sha1'),
        'PKCS#1 v1.5': crypto.publicEncrypt(
          { key: publicKeyOf(key), padding: crypto.constants.RSA_PKCS1_PADDING },
          Buffer.from('x'),
        ),
        'a padding of zeroes': raw(Buffer.alloc(good.length)),
        'a first byte that is not zero': raw(Buffer.alloc(good.length, 1)),
        'not below the modulus': Buffer.alloc(good.length, 255),
        'a byte shorter': good.subarray(1),
        'a byte longer': Buffer.concat([Buffer.alloc(1), good]),
        empty: Buffer.alloc(0),
        huge: Buffer.alloc(6144),
      };
      for (const [what, ciphertext] of Object.entries(wrong))
        expect({ what, failure: (await failureOf(decrypt(ciphertext))).failure }).toEqual({
          what,
          failure: 'ciphertextInvalid',
        });
      expect((await decrypt(good)).reveal().toString()).toBe('x');
      expect(keyStore.status().restarts).toBe(0);
    },
  );

  const agreeing = [
    ['ECC_NIST_P256', 'prime256v1', 'secp384r1', 32],
    ['ECC_NIST_P384', 'secp384r1', 'secp521r1', 48],
    ['ECC_NIST_P521', 'secp521r1', 'prime256v1', 66],
  ] as const;
  test.each(agreeing)(
    '%s agrees with OpenSSL on a secret, and lets no false point near the token',
    async (keySpec, namedCurve, other, bytes) => {
      const key = await keyOf(keySpec, 'KEY_AGREEMENT');
      const { backingKeyId } = key;
      expect(key.usages).toEqual(['CKA_DERIVE']);
      const derive = (publicKey: Buffer) => keyStore.deriveSharedSecret({ backingKeyId, publicKey });
      for (let round = 0; round < 20; round++) {
        const peer = crypto.generateKeyPairSync('ec', { namedCurve });
        const secret = await derive(spki(peer.publicKey));
        expect(secret.lengthBytes).toBe(bytes);
        expect(secret.reveal()).toEqual(
          crypto.diffieHellman({ privateKey: peer.privateKey, publicKey: publicKeyOf(key) }),
        );
      }
      const good = spki(crypto.generateKeyPairSync('ec', { namedCurve }).publicKey);
      const offCurve = Buffer.from(good);
      offCurve.writeUInt8(offCurve.readUInt8(good.length - 1) ^ 1, good.length - 1);
      const wrong: Readonly<Record<string, Buffer>> = {
        'off the curve': offCurve,
        'on another curve': spki(crypto.generateKeyPairSync('ec', { namedCurve: other }).publicKey),
        'with its parameters spelled out': spki(
          crypto.generateKeyPairSync('ec', { namedCurve, paramEncoding: 'explicit' }).publicKey,
        ),
        'of zeroes': Buffer.concat([good.subarray(0, good.length - 2 * bytes), Buffer.alloc(2 * bytes)]),
        'of RSA': spki(crypto.generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey),
        'of X25519': spki(crypto.generateKeyPairSync('x25519').publicKey),
        cut: good.subarray(0, -1),
        empty: Buffer.alloc(0),
        text: Buffer.from('-----BEGIN PUBLIC KEY-----'),
      };
      for (const [what, publicKey] of Object.entries(wrong))
        expect({ what, failure: (await failureOf(derive(publicKey))).failure }).toEqual({
          what,
          failure: 'publicKeyInvalid',
        });
      expect(keyStore.status().restarts).toBe(0);
    },
  );

  test.each([
    ['HMAC_224', 'HMAC_SHA_224', 28],
    ['HMAC_256', 'HMAC_SHA_256', 32],
    ['HMAC_384', 'HMAC_SHA_384', 48],
    ['HMAC_512', 'HMAC_SHA_512', 64],
  ] as const)('%s makes MACs that it recognises, and no others', async (keySpec, algorithm, bytes) => {
    const { backingKeyId, ...attributes } = await keyOf(keySpec, 'GENERATE_VERIFY_MAC');
    expect(attributes).toMatchObject({ keyBits: bytes * 8, usages: ['CKA_SIGN'], extractable: false, publicKey: null });
    const data = Buffer.from('a message');
    const mac = await keyStore.mac({ backingKeyId, algorithm, data });
    expect(mac).toHaveLength(bytes);
    const flipped = Buffer.from(mac);
    flipped.writeUInt8(flipped.readUInt8(0) ^ 1);
    const verify = (candidate: Buffer, of = data) =>
      keyStore.verifyMac({ backingKeyId, algorithm, data: of, mac: candidate });
    expect(await verify(mac)).toBe(true);
    const wrong = [flipped, mac.subarray(1), Buffer.concat([mac, mac]), Buffer.alloc(0), Buffer.alloc(bytes)];
    for (const candidate of wrong) expect(await verify(candidate)).toBe(false);
    expect(await verify(mac, Buffer.from('another message'))).toBe(false);
  });

  test.each([
    ['HMAC_256', 'HMAC_SHA_256'],
    ['HMAC_512', 'HMAC_SHA_512'],
  ] as const)('%s makes the MACs of many messages as it makes that of each', async (keySpec, algorithm) => {
    const { backingKeyId } = await keyOf(keySpec, 'GENERATE_VERIFY_MAC');
    const macs = (messages: readonly Buffer[]) => keyStore.macs({ backingKeyId, algorithm, messages });
    // More than one call has, in number and in bytes; of one byte, and longer than all of a call otherwise has.
    const lengths = [...Array.from({ length: 300 }, (_, index) => index + 1), 40_000, 40_000, 200_000, 1];
    const messages = lengths.map((length, index) => Buffer.alloc(length, `${index} message `));
    const made = await macs(messages);
    expect(made).toHaveLength(messages.length);
    for (const index of [0, 1, 127, 128, 255, 256, 299, 300, 301, 302, 303]) {
      const data = messages[index] ?? Buffer.alloc(0);
      expect(made[index]).toEqual(await keyStore.mac({ backingKeyId, algorithm, data }));
    }
    expect(new Set(made.map((mac) => mac.toString('hex'))).size).toBe(messages.length);
    expect(await macs([])).toEqual([]);
    const good = Buffer.from('a message');
    for (const bad of [Buffer.alloc(0), Buffer.alloc(256 * 1024)]) {
      expect(await failureOf(macs([good, bad, good]))).toMatchObject({ failure: 'internal' });
    }
    expect(await macs([good, good])).toEqual([...(await macs([good])), ...(await macs([good]))]);
    expect(keyStore.status().restarts).toBe(0);
  });

  test.each(pairs)(
    'a data key pair of %s is whole, and its private half comes back by decryption',
    async (keyPairSpec) => {
      const backingKeyId = (await keyOf('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT')).backingKeyId;
      const before = await keyStore.listKeys();
      const call = keyStore.generateDataKeyPair({ backingKeyId, aad, keyPairSpec, withPlaintext: true });
      const refusal = whyMissing(keyPairSpec);
      if (refusal !== undefined) {
        const message = `cannot make a data key pair: ${refusal}`;
        expect(await failureOf(call)).toEqual({ failure: 'unsupported', message });
        return;
      }
      const { publicKey, plaintext, ...sealed } = await call;
      const der = plaintext?.reveal() ?? Buffer.alloc(0);
      const privateKey = crypto.createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
      expect(spki(crypto.createPublicKey(privateKey))).toEqual(publicKey);
      const hash = keyPairSpec === 'ECC_NIST_EDWARDS25519' ? null : 'sha256';
      const signature = crypto.sign(hash, aad, privateKey);
      const verifier = crypto.createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
      expect(crypto.verify(hash, aad, verifier, signature)).toBe(true);
      expect((await keyStore.decrypt({ backingKeyId, aad, ...sealed })).reveal()).toEqual(der);
      expect(await keyStore.listKeys()).toEqual(before);
    },
  );

  test('a data key pair without plaintext is a ciphertext of another pair', async () => {
    const backingKeyId = (await keyOf('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT')).backingKeyId;
    const request = { backingKeyId, aad, keyPairSpec: 'ECC_NIST_P256', withPlaintext: false };
    const { publicKey, plaintext, ...sealed } = await keyStore.generateDataKeyPair(request);
    expect(plaintext).toBeNull();
    const der = (await keyStore.decrypt({ backingKeyId, aad, ...sealed })).reveal();
    const privateKey = crypto.createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    expect(spki(crypto.createPublicKey(privateKey))).toEqual(publicKey);
    expect((await keyStore.generateDataKeyPair(request)).publicKey).not.toEqual(publicKey);
  });

  test('what cannot be done is refused by name', async () => {
    const key = async (keySpec: KeySpec, keyUsage: KeyUsage) => (await keyOf(keySpec, keyUsage)).backingKeyId;
    const ec = await key('ECC_NIST_P256', 'SIGN_VERIFY');
    const wrapper = await key('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT');
    const sm2 =
      "PKCS#11 has no mechanism for the signatures and the encryption of SM2, a vendor's own is not known here, and no keys are made on its curve";
    const digest = Buffer.alloc(32);
    const pair = (keyPairSpec: string) =>
      keyStore.generateDataKeyPair({ backingKeyId: wrapper, aad, keyPairSpec, withPlaintext: true });
    const sign = (algorithm: string, content: SignedContent, given = digest) =>
      keyStore.sign({ backingKeyId: ec, algorithm, content, message: given });
    const refusals: readonly [call: () => Promise<unknown>, failure: string, message: string][] = [
      [() => generate('SM2', 'SIGN_VERIFY'), 'unsupported', `cannot make a key: ${sm2}`],
      [
        () => generate('ML_KEM_768', 'ENCAPSULATE_DECAPSULATE'),
        'unsupported',
        "cannot make a key: CKM_ML_KEM_KEY_PAIR_GEN is not in the token's mechanism list",
      ],
      [
        () => generate('RSA_2048', 'KEY_AGREEMENT'),
        'unsupported',
        'cannot make a key: KeySpec RSA_2048 has no KeyUsage `KEY_AGREEMENT`',
      ],
      [() => pair('SM2'), 'unsupported', `cannot make a data key pair: ${sm2}`],
      [
        () => pair('SYMMETRIC_DEFAULT'),
        'unsupported',
        'cannot make a data key pair: SYMMETRIC_DEFAULT is no kind of key pair',
      ],
      [() => pair('__proto__'), 'unsupported', 'cannot make a data key pair: there is no KeySpec `__proto__`'],
      [
        () => sign('ED25519_PH_SHA_512', 'DIGEST', Buffer.alloc(64)),
        'unsupported',
        'cannot sign: the pre-hash variant of CKM_EDDSA takes CK_EDDSA_PARAMS, which pkcs11js 2.1.7 cannot pass',
      ],
      [() => sign('constructor', 'DIGEST'), 'unsupported', 'cannot sign: there is no signing with constructor'],
      [() => sign('ECDSA_SHA_256', 'RAW'), 'internal', 'cannot sign: ECDSA_SHA_256 signs a DIGEST, not a RAW'],
      [
        () => sign('ECDSA_SHA_256', 'DIGEST', Buffer.alloc(31)),
        'internal',
        'cannot sign: ECDSA_SHA_256 signs 32 bytes, not 31',
      ],
      [
        () => keyStore.mac({ backingKeyId: wrapper, algorithm: 'HMAC_MD5', data: aad }),
        'unsupported',
        'cannot make a MAC: there is no MAC with HMAC_MD5',
      ],
      [
        () => keyStore.decryptAsymmetric({ backingKeyId: wrapper, algorithm: 'SM2PKE', ciphertext: aad }),
        'unsupported',
        'cannot decrypt with a private key: there is no decryption with SM2PKE',
      ],
    ];
    for (const [call, failure, message] of refusals) expect(await failureOf(call())).toEqual({ failure, message });

    // What a build of SoftHSM2 that has it does is tested in `ml-dsa.test.ts`.
    if (keyStore.capabilities().mechanisms.includes('CKM_ML_DSA')) return;
    const message = "cannot make a key: CKM_ML_DSA_KEY_PAIR_GEN is not in the token's mechanism list";
    expect(await failureOf(generate('ML_DSA_65', 'SIGN_VERIFY'))).toEqual({ failure: 'unsupported', message });
  });

  test('a key does only what it is for', async () => {
    const key = async (keySpec: KeySpec, keyUsage: KeyUsage) => (await keyOf(keySpec, keyUsage)).backingKeyId;
    const agreement = await key('ECC_NIST_P256', 'KEY_AGREEMENT');
    const signer = await key('ECC_NIST_P256', 'SIGN_VERIFY');
    const p384 = await key('ECC_NIST_P384', 'SIGN_VERIFY');
    const rsaSigner = await key('RSA_2048', 'SIGN_VERIFY');
    const decrypter = await key('RSA_2048', 'ENCRYPT_DECRYPT');
    const aes = await key('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT');
    const unknown = newBackingKeyId();
    const publicKey = spki(crypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).publicKey);
    const sign = (backingKeyId: BackingKeyId, algorithm: string) =>
      keyStore.sign({ backingKeyId, algorithm, content: 'DIGEST', message: Buffer.alloc(32) });
    const decrypt = (backingKeyId: BackingKeyId) =>
      keyStore.decryptAsymmetric({ backingKeyId, algorithm: 'RSAES_OAEP_SHA_256', ciphertext: Buffer.alloc(256) });
    const attempts: Readonly<Record<string, () => Promise<unknown>>> = {
      'sign with a key for agreement': () => sign(agreement, 'ECDSA_SHA_256'),
      'sign with a key for decryption': () => sign(decrypter, 'RSASSA_PSS_SHA_256'),
      'sign by ECDSA with an RSA key': () => sign(rsaSigner, 'ECDSA_SHA_256'),
      'sign by RSA with an EC key': () => sign(signer, 'RSASSA_PSS_SHA_256'),
      'sign by the algorithm of another curve': () => sign(p384, 'ECDSA_SHA_256'),
      'sign with an AES key': () => sign(aes, 'ECDSA_SHA_256'),
      'sign without a key': () => sign(unknown, 'ECDSA_SHA_256'),
      'decrypt with a key for signatures': () => decrypt(rsaSigner),
      'decrypt with an EC key': () => decrypt(signer),
      'decrypt without a key': () => decrypt(unknown),
      'agree with a key for signatures': () => keyStore.deriveSharedSecret({ backingKeyId: signer, publicKey }),
      'agree with an AES key': () => keyStore.deriveSharedSecret({ backingKeyId: aes, publicKey }),
      'agree without a key': () => keyStore.deriveSharedSecret({ backingKeyId: unknown, publicKey }),
      'encrypt a pair under an EC key': () =>
        keyStore.generateDataKeyPair({ backingKeyId: signer, aad, keyPairSpec: 'ECC_NIST_P256', withPlaintext: true }),
      'MACs with an EC key': () =>
        keyStore.macs({ backingKeyId: signer, algorithm: 'HMAC_SHA_256', messages: [aad, aad] }),
      'MAC with an EC key': () => keyStore.mac({ backingKeyId: signer, algorithm: 'HMAC_SHA_256', data: aad }),
    };
    for (const [what, attempt] of Object.entries(attempts))
      expect({ what, failure: (await failureOf(attempt())).failure }).toEqual({ what, failure: 'keyUnavailable' });
    expect(keyStore.status().restarts).toBe(0);
  });

  test('signatures, MACs, secrets and plaintexts that were asked for while a host died come from the next one', async () => {
    const ec = await keyOf('ECC_NIST_P256', 'SIGN_VERIFY');
    const hmac = (await keyOf('HMAC_512', 'GENERATE_VERIFY_MAC')).backingKeyId;
    const rsa = await keyOf('RSA_2048', 'ENCRYPT_DECRYPT');
    const row = { keySpec: 'ECC_NIST_P256', algorithm: 'ECDSA_SHA_256', hash: 'sha256' } as const;
    const ciphertext = crypto.publicEncrypt({ key: publicKeyOf(rsa), oaepHash: 'sha256' }, aad);
    const { restarts } = keyStore.status();
    const calls = Array.from({ length: 20 }, async (_, index) => {
      const message = Buffer.from(`message ${index}`);
      const [signature, mac, plaintext] = await Promise.all([
        signed(ec.backingKeyId, row, message),
        keyStore.mac({ backingKeyId: hmac, algorithm: 'HMAC_SHA_512', data: message }),
        keyStore.decryptAsymmetric({ backingKeyId: rsa.backingKeyId, algorithm: 'RSAES_OAEP_SHA_256', ciphertext }),
      ]);
      expect(crypto.verify('sha256', message, publicKeyOf(ec), signature)).toBe(true);
      expect(mac).toHaveLength(64);
      expect(plaintext.reveal()).toEqual(aad);
    });
    const [pid] = keyStore.status().pids;
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    await Promise.all(calls);
    expect(keyStore.status().restarts).toBe(restarts + 1);
    await keyStore.destroyKey({ backingKeyId: await newKey(keyStore) });
  });
});
