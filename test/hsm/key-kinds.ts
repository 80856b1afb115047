/** The kinds of pairs there are and what they sign by, and what each tested token lacks. */

import type { KeySpec } from '../../src/kms/key-specs.ts';

export interface SigningCase {
  readonly keySpec: KeySpec;
  readonly algorithm: string;
  readonly hash: string | null;
  readonly pss?: true;
}

const rsaSigning = (keySpec: KeySpec): SigningCase[] =>
  ['256', '384', '512'].flatMap((bits) => [
    { keySpec, algorithm: `RSASSA_PKCS1_V1_5_SHA_${bits}`, hash: `sha${bits}` },
    { keySpec, algorithm: `RSASSA_PSS_SHA_${bits}`, hash: `sha${bits}`, pss: true as const },
  ]);

export const signing: readonly SigningCase[] = [
  ...rsaSigning('RSA_2048'),
  ...rsaSigning('RSA_3072'),
  ...rsaSigning('RSA_4096'),
  { keySpec: 'ECC_NIST_P256', algorithm: 'ECDSA_SHA_256', hash: 'sha256' },
  { keySpec: 'ECC_NIST_P384', algorithm: 'ECDSA_SHA_384', hash: 'sha384' },
  { keySpec: 'ECC_NIST_P521', algorithm: 'ECDSA_SHA_512', hash: 'sha512' },
  { keySpec: 'ECC_SECG_P256K1', algorithm: 'ECDSA_SHA_256', hash: 'sha256' },
  { keySpec: 'ECC_NIST_EDWARDS25519', algorithm: 'ED25519_SHA_512', hash: null },
];

/** What a token of this profile has not, and how it says so. */
export const missing: Readonly<Record<string, Readonly<Partial<Record<KeySpec, string>>>>> = {
  softhsm2: {},
  nss: {
    ECC_SECG_P256K1: 'the curve secp256k1 is missing',
    ECC_NIST_EDWARDS25519: "CKM_EC_EDWARDS_KEY_PAIR_GEN is not in the token's mechanism list",
  },
};

export const pairs: readonly [keySpec: KeySpec, expected: object][] = [
  ['RSA_2048', { keyType: 'CKK_RSA', keyBits: 2048 }],
  ['RSA_3072', { keyType: 'CKK_RSA', keyBits: 3072 }],
  ['RSA_4096', { keyType: 'CKK_RSA', keyBits: 4096 }],
  ['ECC_NIST_P256', { keyType: 'CKK_EC', keyBits: 256 }],
  ['ECC_NIST_P384', { keyType: 'CKK_EC', keyBits: 384 }],
  ['ECC_NIST_P521', { keyType: 'CKK_EC', keyBits: 521 }],
  ['ECC_SECG_P256K1', { keyType: 'CKK_EC', keyBits: 256 }],
  ['ECC_NIST_EDWARDS25519', { keyType: 'CKK_EC_EDWARDS', keyBits: 255 }],
];
