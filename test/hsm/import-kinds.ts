/** Key material of every kind as callers have it, how they wrap it, and what each kind has to do once it was imported. */

import * as crypto from 'node:crypto';
import { expect } from 'vitest';
import type { KeyStore, WrappedMaterial, WrappingAlgorithm, WrappingKeySpec } from '../../src/hsm/key-store.ts';
import type { BackingKeyReference } from '../../src/hsm/wrapped-key.ts';
import type { KeySpec, KeyUsage } from '../../src/kms/key-specs.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { aad, plaintextOf } from './test-store.ts';

export const keyIdDigits = '1234abcd12ab34cd56ef1234567890ab';

export interface MaterialKind {
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  readonly usages: readonly string[];
  readonly make: () => Material;
  /** Does the key in the token what OpenSSL does with the material? */
  readonly check: (keyStore: KeyStore, key: BackingKeyReference, material: Material) => Promise<void>;
}

export interface Material {
  /** A secret, or PKCS#8 in DER. */
  readonly bytes: Buffer;
  readonly privateKey: crypto.KeyObject | null;
  /** What `node:crypto` says a token answers to the constants of a fingerprint. */
  readonly answer: () => Buffer;
}

const digestOf = (purpose: string, keySpec: KeySpec, digits = keyIdDigits) =>
  crypto.createHash('sha256').update(`drawbridge imported key material\0${purpose}\0${keySpec}\0${digits}\0`);

/** As `node:crypto` computes it. */
export function fingerprintOf(keySpec: KeySpec, material: Material): Buffer {
  return digestOf('fingerprint', keySpec).update(material.answer()).digest();
}

function secret(lengthBytes: number, answer: (bytes: Buffer) => Buffer): Material {
  const bytes = crypto.randomBytes(lengthBytes);
  return { bytes, privateKey: null, answer: () => answer(bytes) };
}

export function pairMaterial(privateKey: crypto.KeyObject): Material {
  const publicKey = crypto.createPublicKey(privateKey);
  return {
    bytes: privateKey.export({ type: 'pkcs8', format: 'der' }),
    privateKey,
    answer: () => publicKey.export({ type: 'spki', format: 'der' }),
  };
}

const aes: MaterialKind = {
  keySpec: 'SYMMETRIC_DEFAULT',
  keyUsage: 'ENCRYPT_DECRYPT',
  usages: ['CKA_ENCRYPT', 'CKA_DECRYPT'],
  make: () =>
    secret(32, (bytes) => {
      const blocks = digestOf('constant', 'SYMMETRIC_DEFAULT').digest().fill(0xff, 12, 16).fill(0xff, 28, 32);
      const cipher = crypto.createCipheriv('aes-256-ecb', bytes, null).setAutoPadding(false);
      return Buffer.concat([cipher.update(blocks), cipher.final()]);
    }),
  check: async (keyStore, { backingKeyId, wrapped }, { bytes }) => {
    const { iv, ciphertext } = await keyStore.encrypt({
      backingKeyId,
      wrapped,
      aad,
      plaintext: plaintextOf('a plaintext'),
    });
    const decipher = crypto.createDecipheriv('aes-256-gcm', bytes, iv).setAAD(aad).setAuthTag(ciphertext.subarray(-16));
    const plaintext = Buffer.concat([decipher.update(ciphertext.subarray(0, -16)), decipher.final()]);
    expect(plaintext.toString()).toBe('a plaintext');
  },
};

const hmac = (bits: number): MaterialKind => ({
  keySpec: `HMAC_${bits}` as KeySpec,
  keyUsage: 'GENERATE_VERIFY_MAC',
  usages: ['CKA_SIGN'],
  make: () =>
    secret(bits / 8, (bytes) => {
      const constant = digestOf('constant', `HMAC_${bits}` as KeySpec).digest();
      return crypto.createHmac(`sha${bits}`, bytes).update(constant).digest();
    }),
  check: async (keyStore, { backingKeyId, wrapped }, { bytes }) => {
    const mac = await keyStore.mac({ backingKeyId, wrapped, algorithm: `HMAC_SHA_${bits}`, data: aad });
    expect(mac).toEqual(crypto.createHmac(`sha${bits}`, bytes).update(aad).digest());
  },
});

const publicKeyOf = ({ privateKey }: Material): crypto.KeyObject => {
  if (privateKey === null) throw new Error('a secret has no public key');
  return crypto.createPublicKey(privateKey);
};

const signs =
  (algorithm: string, hash: string | null): MaterialKind['check'] =>
  async (keyStore, { backingKeyId, wrapped }, material) => {
    const message = hash === null ? aad : crypto.createHash(hash).update(aad).digest();
    const content = hash === null ? 'RAW' : 'DIGEST';
    const signature = await keyStore.sign({ backingKeyId, wrapped, algorithm, content, message });
    const padding = algorithm.startsWith('RSASSA_PSS') ? { padding: crypto.constants.RSA_PKCS1_PSS_PADDING } : {};
    expect(crypto.verify(hash, aad, { key: publicKeyOf(material), ...padding }, signature)).toBe(true);
  };

/** RSA keys take OpenSSL a second: one of each size serves all tests. */
const rsaKeys = new Map<number, Material>();
export const rsaMaterial = (bits: number): Material => {
  const made = rsaKeys.get(bits) ?? pairMaterial(crypto.generateKeyPairSync('rsa', { modulusLength: bits }).privateKey);
  rsaKeys.set(bits, made);
  return made;
};

const rsaSigning = (bits: number): MaterialKind => ({
  keySpec: `RSA_${bits}` as KeySpec,
  keyUsage: 'SIGN_VERIFY',
  usages: ['CKA_SIGN'],
  make: () => rsaMaterial(bits),
  check: signs('RSASSA_PSS_SHA_256', 'sha256'),
});

const rsaDecryption = (bits: number): MaterialKind => ({
  ...rsaSigning(bits),
  keyUsage: 'ENCRYPT_DECRYPT',
  usages: ['CKA_DECRYPT'],
  check: async (keyStore, { backingKeyId, wrapped }, material) => {
    const ciphertext = crypto.publicEncrypt({ key: publicKeyOf(material), oaepHash: 'sha256' }, aad);
    const request = { backingKeyId, wrapped, algorithm: 'RSAES_OAEP_SHA_256', ciphertext };
    expect((await keyStore.decryptAsymmetric(request)).reveal()).toEqual(aad);
  },
});

const ec = (keySpec: KeySpec, namedCurve: string, algorithm: string, hash: string): MaterialKind => ({
  keySpec,
  keyUsage: 'SIGN_VERIFY',
  usages: ['CKA_SIGN'],
  make: () => pairMaterial(crypto.generateKeyPairSync('ec', { namedCurve }).privateKey),
  check: signs(algorithm, hash),
});

const agreement = (kind: MaterialKind): MaterialKind => ({
  ...kind,
  keyUsage: 'KEY_AGREEMENT',
  usages: ['CKA_DERIVE'],
  check: async (keyStore, { backingKeyId, wrapped }, material) => {
    const namedCurve = publicKeyOf(material).asymmetricKeyDetails?.namedCurve ?? '';
    const peer = crypto.generateKeyPairSync('ec', { namedCurve });
    const publicKey = peer.publicKey.export({ type: 'spki', format: 'der' });
    const expected = crypto.diffieHellman({ privateKey: peer.privateKey, publicKey: publicKeyOf(material) });
    expect((await keyStore.deriveSharedSecret({ backingKeyId, wrapped, publicKey })).reveal()).toEqual(expected);
  },
});

const p256 = ec('ECC_NIST_P256', 'prime256v1', 'ECDSA_SHA_256', 'sha256');
const p384 = ec('ECC_NIST_P384', 'secp384r1', 'ECDSA_SHA_384', 'sha384');
const p521 = ec('ECC_NIST_P521', 'secp521r1', 'ECDSA_SHA_512', 'sha512');

export const kinds = {
  aes,
  hmac256: hmac(256),
  p256,
  rsa2048: rsaSigning(2048),
} as const;

export const materialKinds: readonly MaterialKind[] = [
  aes,
  hmac(224),
  hmac(256),
  hmac(384),
  hmac(512),
  rsaSigning(2048),
  rsaDecryption(2048),
  rsaSigning(3072),
  rsaSigning(4096),
  p256,
  agreement(p256),
  p384,
  agreement(p384),
  p521,
  agreement(p521),
  ec('ECC_SECG_P256K1', 'secp256k1', 'ECDSA_SHA_256', 'sha256'),
  {
    keySpec: 'ECC_NIST_EDWARDS25519',
    keyUsage: 'SIGN_VERIFY',
    usages: ['CKA_SIGN'],
    make: () => pairMaterial(crypto.generateKeyPairSync('ed25519').privateKey),
    check: signs('ED25519_SHA_512', null),
  },
];

const hashOf = (algorithm: WrappingAlgorithm) => (algorithm.endsWith('_1') ? 'sha1' : 'sha256');

export function oaep(algorithm: WrappingAlgorithm, key: crypto.KeyObject, bytes: Buffer): Buffer {
  return crypto.publicEncrypt({ key, oaepHash: hashOf(algorithm) }, bytes);
}

/** RFC 5649, by an AES key of any length. */
export function keyWrapPad(key: Buffer, bytes: Buffer): Buffer {
  const cipher = crypto.createCipheriv(`id-aes${key.length * 8}-wrap-pad`, key, Buffer.from('a65959a6', 'hex'));
  return Buffer.concat([cipher.update(bytes), cipher.final()]);
}

export const isHybrid = (algorithm: WrappingAlgorithm) => algorithm.startsWith('RSA_AES_KEY_WRAP');

/** As a caller wraps material; `transport` is the AES key between, where there is one. */
export function wrap(
  algorithm: WrappingAlgorithm,
  publicKey: crypto.KeyObject,
  material: Buffer,
  transport = crypto.randomBytes(32),
): Buffer {
  if (!isHybrid(algorithm)) return oaep(algorithm, publicKey, material);
  return Buffer.concat([oaep(algorithm, publicKey, transport), keyWrapPad(transport, material)]);
}

/** Is there room for it under such a key, by OAEP alone? */
export function fits(algorithm: WrappingAlgorithm, publicKey: crypto.KeyObject, material: Buffer): boolean {
  const modulusBytes = (publicKey.asymmetricKeyDetails?.modulusLength ?? 0) / 8;
  return isHybrid(algorithm) || material.length <= modulusBytes - 2 - 2 * (hashOf(algorithm) === 'sha1' ? 20 : 32);
}

export interface WrappingKey {
  readonly wrappingKeyId: BackingKeyId;
  readonly publicKey: crypto.KeyObject;
}

export const wrappingLabel = 'drawbridge:wrapping:test';

export async function newWrappingKey(
  keyStore: KeyStore,
  wrappingKeySpec: WrappingKeySpec = 'RSA_2048',
): Promise<WrappingKey> {
  const wrappingKeyId = newBackingKeyId();
  const request = { backingKeyId: wrappingKeyId, label: wrappingLabel, wrappingKeySpec };
  const { publicKey } = await keyStore.generateWrappingKey(request);
  return { wrappingKeyId, publicKey: crypto.createPublicKey({ key: publicKey, format: 'der', type: 'spki' }) };
}

/** What a caller sends for material of a kind. */
export function requestOf(
  { keySpec, keyUsage }: MaterialKind,
  wrappingAlgorithm: WrappingAlgorithm,
  { wrappingKeyId, publicKey }: WrappingKey,
  bytes: Buffer,
): WrappedMaterial {
  const wrapped = wrap(wrappingAlgorithm, publicKey, bytes);
  return { wrappingKeyId, wrappingAlgorithm, wrapped, keyIdDigits, keySpec, keyUsage };
}

export function damaged(bytes: Buffer, at: number, mask = 1): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ mask, at);
  return copy;
}

/** RSA keys of 2,048 bits whose components all follow from each other, as OpenSSL makes none, with what is said of them. */
export function falseRsaKeys(): readonly (readonly [what: string, bytes: Buffer, said: RegExp])[] {
  const e = 65_537n;
  type Numbers = readonly [n: bigint, e: bigint, d: bigint, p: bigint, q: bigint, dp: bigint, dq: bigint, qi: bigint];
  /** With these factors, where there is such a key. */
  const keyOf = (p: bigint, q: bigint): Numbers | undefined => {
    const d = inverse(e, (p - 1n) * (q - 1n));
    const qi = inverse(q, p);
    if (d === undefined || qi === undefined || (p * q).toString(2).length !== 2048) return undefined;
    return [p * q, e, d, p, q, d % (p - 1n), d % (q - 1n), qi];
  };
  const prime = (bits: number) => crypto.generatePrimeSync(bits, { bigint: true });
  const search = (make: () => Numbers | undefined): Numbers => make() ?? search(make);
  const [n, , d, p, q, dp, dq, qi] = search(() => keyOf(prime(1024), prime(1024)));
  const [noPrimes, apart] = [/are no primes of 1024 bits$/, /do not belong together$/];
  return [
    ['an even factor', rsaInfo(search(() => keyOf(4n, prime(1023) * prime(1023)))), noPrimes],
    ['a small factor', rsaInfo(search(() => keyOf(5n, prime(1022) * prime(1023)))), noPrimes],
    [
      'a factor of two primes',
      rsaInfo(search(() => keyOf(prime(512) * prime(512), prime(1024)))),
      /its factors are no primes$/,
    ],
    ['a longer exponent', rsaInfo([n, e, d, p, q, dp + 5n * (p - 1n), dq, qi]), apart],
    ['a longer coefficient', rsaInfo([n, e, d, p, q, dp, dq, qi + 5n * p]), apart],
  ];
}

function inverse(value: bigint, modulus: bigint): bigint | undefined {
  let [before, rest] = [modulus, value % modulus];
  let [beforeFactor, factor] = [0n, 1n];
  while (rest > 0n) {
    const times = before / rest;
    [before, rest] = [rest, before - times * rest];
    [beforeFactor, factor] = [factor, beforeFactor - times * factor];
  }
  return before === 1n ? ((beforeFactor % modulus) + modulus) % modulus : undefined;
}

const derValue = (tag: number, ...contents: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat(contents);
  const long = body.length < 0x100 ? [0x81, body.length] : [0x82, body.length >> 8, body.length & 0xff];
  const length = body.length < 0x80 ? [body.length] : long;
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
};

function derNumber(value: bigint): Buffer {
  const digits = value.toString(16);
  const bytes = Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex');
  return derValue(2, (bytes[0] ?? 0) < 0x80 ? bytes : Buffer.concat([Buffer.alloc(1), bytes]));
}

/** PKCS#8 of an RSAPrivateKey. */
function rsaInfo(components: readonly bigint[]): Buffer {
  const algorithm = Buffer.from('300d06092a864886f70d0101010500', 'hex');
  const key = derValue(0x30, derNumber(0n), ...components.map(derNumber));
  return derValue(0x30, derNumber(0n), algorithm, derValue(4, key));
}
