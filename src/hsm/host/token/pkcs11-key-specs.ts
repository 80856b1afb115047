/**
 * What each KeySpec is to PKCS#11: one row per KeySpec with everything that the host knows about it.
 *
 * The KMS side of the same KeySpec (which algorithms it has, whether callers may create it) is `kms/key-specs.ts`; a
 * test holds the two to the same KeySpecs, usages and algorithms. Names are PKCS#11's; `constant()` has the numbers.
 * `unbuilt` says why this host does not make such keys even where a token could; their rows serve the report of what a token can do.
 *
 * Source: PKCS#11 3.1 and, for ML-DSA and ML-KEM, 3.2: the mechanism's section is named above its group.
 */

import type { KeySpec, KeyUsage } from '../../../kms/key-specs.ts';
import { type Curve, curves } from './curves.ts';
import { HostFailure } from './failures.ts';
import { type ParameterSet, parameterSets } from './parameter-sets.ts';

export interface UsageRow {
  /** The usage attributes that such a key has and nothing else: of the secret key, or of the private one of a pair. */
  readonly attributes: readonly string[];
  /** Of the public key of a pair. */
  readonly publicAttributes: readonly string[];
  /** KMS algorithm → the mechanism that does its secret part. `null`: PKCS#11 has none. */
  readonly algorithms: Readonly<Record<string, string | null>>;
}

export interface HostKeySpec {
  readonly objectClass: 'CKO_SECRET_KEY' | 'CKO_PRIVATE_KEY';
  /** `null`: no such key is made here. */
  readonly keyType: string | null;
  readonly keyBits: number;
  readonly generation: string | null;
  /** Of an elliptic curve key. */
  readonly curve: Curve | null;
  /** Of an ML-DSA key. */
  readonly parameterSet: ParameterSet | null;
  readonly usages: Readonly<Partial<Record<KeyUsage, UsageRow>>>;
  /** `null`: it is built. */
  readonly unbuilt: string | null;
}

/** Every usage attribute of each class of object; a template sets the ones that a usage does not name to false. */
export const secretKeyUsageAttributes = [
  'CKA_ENCRYPT',
  'CKA_DECRYPT',
  'CKA_SIGN',
  'CKA_VERIFY',
  'CKA_WRAP',
  'CKA_UNWRAP',
  'CKA_DERIVE',
] as const;
export const privateKeyUsageAttributes = [
  'CKA_DECRYPT',
  'CKA_SIGN',
  'CKA_SIGN_RECOVER',
  'CKA_UNWRAP',
  'CKA_DERIVE',
] as const;
export const publicKeyUsageAttributes = [
  'CKA_ENCRYPT',
  'CKA_VERIFY',
  'CKA_VERIFY_RECOVER',
  'CKA_WRAP',
  'CKA_DERIVE',
] as const;

/** Algorithms that this host cannot ask a token for, though the token may have the mechanism. */
export const unbuiltAlgorithms: ReadonlyMap<string, string> = new Map([
  ['ED25519_PH_SHA_512', 'the pre-hash variant of CKM_EDDSA takes CK_EDDSA_PARAMS, which pkcs11js 2.1.7 cannot pass'],
]);

/** What an operator has to know of an algorithm that works. */
export const remarks: ReadonlyMap<string, string> = new Map([
  ['ML_DSA_SHAKE_256', 'signs RAW messages; no mechanism of PKCS#11 3.2 signs an EXTERNAL_MU'],
]);

type Algorithms = UsageRow['algorithms'];

const all = (names: readonly string[], mechanism: string | null): Algorithms =>
  Object.fromEntries(names.map((name) => [name, mechanism]));

const signing = (algorithms: Algorithms): UsageRow => ({
  attributes: ['CKA_SIGN'],
  publicAttributes: ['CKA_VERIFY'],
  algorithms,
});
const decrypting = (algorithms: Algorithms): UsageRow => ({
  attributes: ['CKA_DECRYPT'],
  publicAttributes: ['CKA_ENCRYPT'],
  algorithms,
});
const deriving = (mechanism: string): UsageRow => ({
  attributes: ['CKA_DERIVE'],
  publicAttributes: [],
  algorithms: { ECDH: mechanism },
});

const hashes = ['SHA_256', 'SHA_384', 'SHA_512'];

const rsa = (keyBits: number): HostKeySpec => ({
  objectClass: 'CKO_PRIVATE_KEY',
  keyType: 'CKK_RSA',
  keyBits,
  generation: 'CKM_RSA_PKCS_KEY_PAIR_GEN',
  curve: null,
  parameterSet: null,
  usages: {
    ENCRYPT_DECRYPT: decrypting(all(['RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256'], 'CKM_RSA_PKCS_OAEP')),
    SIGN_VERIFY: signing({
      ...all(
        hashes.map((hash) => `RSASSA_PKCS1_V1_5_${hash}`),
        'CKM_RSA_PKCS',
      ),
      ...all(
        hashes.map((hash) => `RSASSA_PSS_${hash}`),
        'CKM_RSA_PKCS_PSS',
      ),
    }),
  },
  unbuilt: null,
});

const ec = (keyBits: number, curve: Curve, algorithm: string, agreement: boolean): HostKeySpec => ({
  objectClass: 'CKO_PRIVATE_KEY',
  keyType: 'CKK_EC',
  keyBits,
  generation: 'CKM_EC_KEY_PAIR_GEN',
  curve,
  parameterSet: null,
  usages: {
    SIGN_VERIFY: signing({ [algorithm]: 'CKM_ECDSA' }),
    ...(agreement ? { KEY_AGREEMENT: deriving('CKM_ECDH1_DERIVE') } : {}),
  },
  unbuilt: null,
});

/** A generic secret, because SoftHSM2 generates no `CKK_SHA256_HMAC` key; both tokens take it for every HMAC. */
const hmac = (keyBits: number, algorithm: string, mechanism: string): HostKeySpec => ({
  objectClass: 'CKO_SECRET_KEY',
  keyType: 'CKK_GENERIC_SECRET',
  keyBits,
  generation: 'CKM_GENERIC_SECRET_KEY_GEN',
  curve: null,
  parameterSet: null,
  usages: {
    // CKA_SIGN alone: a MAC is verified by computing it again and comparing in constant time.
    GENERATE_VERIFY_MAC: { attributes: ['CKA_SIGN'], publicAttributes: [], algorithms: { [algorithm]: mechanism } },
  },
  unbuilt: null,
});

/** Its size is that of the public key. */
const mlDsa = (parameterSet: ParameterSet): HostKeySpec => ({
  objectClass: 'CKO_PRIVATE_KEY',
  keyType: 'CKK_ML_DSA',
  keyBits: parameterSet.publicKeyBytes * 8,
  generation: 'CKM_ML_DSA_KEY_PAIR_GEN',
  curve: null,
  parameterSet,
  usages: { SIGN_VERIFY: signing({ ML_DSA_SHAKE_256: 'CKM_ML_DSA' }) },
  unbuilt: null,
});

const mlKem = (keyBits: number): HostKeySpec => ({
  objectClass: 'CKO_PRIVATE_KEY',
  keyType: 'CKK_ML_KEM',
  keyBits,
  generation: 'CKM_ML_KEM_KEY_PAIR_GEN',
  curve: null,
  parameterSet: null,
  usages: {
    // PKCS#11 3.2 has CKA_DECAPSULATE and CKA_ENCAPSULATE for these; no token that is tested has the mechanism yet.
    ENCAPSULATE_DECAPSULATE: { attributes: [], publicAttributes: [], algorithms: { ML_KEM: 'CKM_ML_KEM' } },
  },
  unbuilt:
    'pkcs11js 2.1.7 has no C_EncapsulateKey and no C_DecapsulateKey, and without them nothing of ML-KEM is built',
});

export const hostKeySpecs = {
  // 6.1 RSA
  RSA_2048: rsa(2048),
  RSA_3072: rsa(3072),
  RSA_4096: rsa(4096),
  // 6.3 Elliptic curve
  ECC_NIST_P256: ec(256, curves.ECC_NIST_P256, 'ECDSA_SHA_256', true),
  ECC_NIST_P384: ec(384, curves.ECC_NIST_P384, 'ECDSA_SHA_384', true),
  ECC_NIST_P521: ec(521, curves.ECC_NIST_P521, 'ECDSA_SHA_512', true),
  ECC_SECG_P256K1: ec(256, curves.ECC_SECG_P256K1, 'ECDSA_SHA_256', false),
  // 6.11 AES, 6.13 AES with Counter, GCM
  SYMMETRIC_DEFAULT: {
    objectClass: 'CKO_SECRET_KEY',
    keyType: 'CKK_AES',
    keyBits: 256,
    generation: 'CKM_AES_KEY_GEN',
    curve: null,
    parameterSet: null,
    usages: {
      ENCRYPT_DECRYPT: {
        attributes: ['CKA_ENCRYPT', 'CKA_DECRYPT'],
        publicAttributes: [],
        algorithms: { SYMMETRIC_DEFAULT: 'CKM_AES_GCM' },
      },
    },
    unbuilt: null,
  },
  // 6.21 to 6.24 SHA-224 to SHA-512, HMAC
  HMAC_224: hmac(224, 'HMAC_SHA_224', 'CKM_SHA224_HMAC'),
  HMAC_256: hmac(256, 'HMAC_SHA_256', 'CKM_SHA256_HMAC'),
  HMAC_384: hmac(384, 'HMAC_SHA_384', 'CKM_SHA384_HMAC'),
  HMAC_512: hmac(512, 'HMAC_SHA_512', 'CKM_SHA512_HMAC'),
  SM2: {
    objectClass: 'CKO_PRIVATE_KEY',
    keyType: null,
    keyBits: 256,
    generation: null,
    curve: null,
    parameterSet: null,
    usages: {
      ENCRYPT_DECRYPT: decrypting({ SM2PKE: null }),
      SIGN_VERIFY: signing({ SM2DSA: null }),
      KEY_AGREEMENT: deriving('CKM_ECDH1_DERIVE'),
    },
    // A token may know the curve for ECDH, as SoftHSM2 does; but JWK does not, by way of which public keys become DER.
    unbuilt:
      "PKCS#11 has no mechanism for the signatures and the encryption of SM2, a vendor's own is not known here, and no keys are made on its curve",
  },
  // PKCS#11 3.2; the size of ML-KEM is that of the public key as well (FIPS 203, table 3).
  ML_DSA_44: mlDsa(parameterSets.ML_DSA_44),
  ML_DSA_65: mlDsa(parameterSets.ML_DSA_65),
  ML_DSA_87: mlDsa(parameterSets.ML_DSA_87),
  ML_KEM_512: mlKem(800 * 8),
  ML_KEM_768: mlKem(1184 * 8),
  ML_KEM_1024: mlKem(1568 * 8),
  // 6.3.16 EdDSA
  ECC_NIST_EDWARDS25519: {
    objectClass: 'CKO_PRIVATE_KEY',
    keyType: 'CKK_EC_EDWARDS',
    keyBits: 255,
    generation: 'CKM_EC_EDWARDS_KEY_PAIR_GEN',
    curve: curves.ECC_NIST_EDWARDS25519,
    parameterSet: null,
    usages: { SIGN_VERIFY: signing({ ED25519_SHA_512: 'CKM_EDDSA', ED25519_PH_SHA_512: 'CKM_EDDSA' }) },
    unbuilt: null,
  },
} as const satisfies Record<KeySpec, HostKeySpec>;

const rowByName: ReadonlyMap<string, HostKeySpec> = new Map(Object.entries(hostKeySpecs));

/** The row of a KeySpec and KeyUsage. Throws `HostFailure` (`unsupported`) for names that there are not. */
export function usageRow(keySpec: string, keyUsage: string): { row: HostKeySpec; usage: UsageRow } {
  const row = keySpecRow(keySpec);
  const usage = new Map(Object.entries(row.usages)).get(keyUsage);
  if (usage === undefined) throw new HostFailure('unsupported', `KeySpec ${keySpec} has no KeyUsage \`${keyUsage}\``);
  return { row, usage };
}

/** Throws `HostFailure` (`unsupported`) for a KeySpec that there is not. */
export function keySpecRow(keySpec: string): HostKeySpec {
  const row = rowByName.get(keySpec);
  if (row === undefined) throw new HostFailure('unsupported', `there is no KeySpec \`${keySpec}\``);
  return row;
}
