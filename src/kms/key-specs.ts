/**
 * The kinds of KMS keys there are, and what the KMS API says about each: one row per KeySpec.
 *
 * This is AWS's side of a KeySpec; what it takes from a token is the table in `hsm/host/`. A row says for every KeyUsage
 * which algorithms a key of this spec has, in the order in which `DescribeKey` lists them. Which of them the connected
 * token can hold and use is a question of its capabilities (`keys/token-capabilities.ts`).
 *
 * Source: AWS KMS API reference, CreateKey (KeySpec) and KeyMetadata; developer guide, "Key spec reference".
 */

import type {
  EncapsulationAlgorithm,
  EncryptionAlgorithm,
  KeyAgreementAlgorithm,
  MacAlgorithm,
  SigningAlgorithm,
} from './algorithms.ts';

export const keyUsages = [
  'ENCRYPT_DECRYPT',
  'SIGN_VERIFY',
  'GENERATE_VERIFY_MAC',
  'KEY_AGREEMENT',
  'ENCAPSULATE_DECAPSULATE',
] as const;
export type KeyUsage = (typeof keyUsages)[number];

interface AlgorithmOf {
  ENCRYPT_DECRYPT: EncryptionAlgorithm;
  SIGN_VERIFY: SigningAlgorithm;
  GENERATE_VERIFY_MAC: MacAlgorithm;
  KEY_AGREEMENT: KeyAgreementAlgorithm;
  ENCAPSULATE_DECAPSULATE: EncapsulationAlgorithm;
}

/** The row of a KeySpec that is not known before it runs. */
interface KeySpecRow {
  /** A private and a public key; otherwise one secret key. */
  readonly isKeyPair: boolean;
  /** A token looks for primes, for seconds or minutes; absent: it takes no longer than what it does with keys. */
  readonly isLongGenerated?: true;
  readonly usages: Partial<Record<KeyUsage, readonly string[]>>;
}

const rsaEncryption = ['RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256'] as const;
const rsaSigning = [
  'RSASSA_PKCS1_V1_5_SHA_256',
  'RSASSA_PKCS1_V1_5_SHA_384',
  'RSASSA_PKCS1_V1_5_SHA_512',
  'RSASSA_PSS_SHA_256',
  'RSASSA_PSS_SHA_384',
  'RSASSA_PSS_SHA_512',
] as const;

const rsa = {
  isKeyPair: true,
  isLongGenerated: true,
  usages: { ENCRYPT_DECRYPT: rsaEncryption, SIGN_VERIFY: rsaSigning },
} as const;
const nistCurve = <const Signing extends SigningAlgorithm>(signing: Signing) =>
  ({ isKeyPair: true, usages: { SIGN_VERIFY: [signing], KEY_AGREEMENT: ['ECDH'] } }) as const;
const hmac = <const Algorithm extends MacAlgorithm>(algorithm: Algorithm) =>
  ({ isKeyPair: false, usages: { GENERATE_VERIFY_MAC: [algorithm] } }) as const;
const mlKem = { isKeyPair: true, usages: { ENCAPSULATE_DECAPSULATE: ['ML_KEM'] } } as const;
const mlDsa = { isKeyPair: true, usages: { SIGN_VERIFY: ['ML_DSA_SHAKE_256'] } } as const;

export const keySpecs = {
  RSA_2048: rsa,
  RSA_3072: rsa,
  RSA_4096: rsa,
  ECC_NIST_P256: nistCurve('ECDSA_SHA_256'),
  ECC_NIST_P384: nistCurve('ECDSA_SHA_384'),
  ECC_NIST_P521: nistCurve('ECDSA_SHA_512'),
  ECC_SECG_P256K1: { isKeyPair: true, usages: { SIGN_VERIFY: ['ECDSA_SHA_256'] } },
  SYMMETRIC_DEFAULT: { isKeyPair: false, usages: { ENCRYPT_DECRYPT: ['SYMMETRIC_DEFAULT'] } },
  HMAC_224: hmac('HMAC_SHA_224'),
  HMAC_256: hmac('HMAC_SHA_256'),
  HMAC_384: hmac('HMAC_SHA_384'),
  HMAC_512: hmac('HMAC_SHA_512'),
  SM2: { isKeyPair: true, usages: { ENCRYPT_DECRYPT: ['SM2PKE'], SIGN_VERIFY: ['SM2DSA'], KEY_AGREEMENT: ['ECDH'] } },
  ML_DSA_44: mlDsa,
  ML_DSA_65: mlDsa,
  ML_DSA_87: mlDsa,
  ML_KEM_512: mlKem,
  ML_KEM_768: mlKem,
  ML_KEM_1024: mlKem,
  ECC_NIST_EDWARDS25519: {
    isKeyPair: true,
    usages: { SIGN_VERIFY: ['ED25519_SHA_512', 'ED25519_PH_SHA_512'] },
  },
} as const satisfies Record<
  string,
  { isKeyPair: boolean; isLongGenerated?: true; usages: { [Usage in KeyUsage]?: readonly AlgorithmOf[Usage][] } }
>;

export type KeySpec = keyof typeof keySpecs;
export const keySpecNames = Object.keys(keySpecs) as readonly KeySpec[];

export function keySpecRow(keySpec: KeySpec): KeySpecRow {
  return keySpecs[keySpec];
}
