/**
 * What the bench measures: the operations with their keys and sizes, and what a daemon is asked for in each.
 *
 * The direct loop, the HSM host and the daemon do the same work in the HSM for a case; `direct.c` says which calls.
 * Signatures are over a digest where the algorithm takes one. Verify is not the HSM's work in Drawbridge: the direct loop
 * has the token do it, and the host's row is the verification alone, in one process.
 */

import type { SigningAlgorithm } from '../../src/kms/algorithms.ts';
import type { KeyUsage } from '../../src/kms/key-specs.ts';
import { type Burden, burdens, contextOf } from './authorization.ts';

/** What each operation needs a key for; `direct.c` has the same names. */
export const operationUsages = {
  Encrypt: 'ENCRYPT_DECRYPT',
  Decrypt: 'ENCRYPT_DECRYPT',
  GenerateDataKey: 'ENCRYPT_DECRYPT',
  GenerateRandom: 'ENCRYPT_DECRYPT',
  DescribeKey: 'ENCRYPT_DECRYPT',
  Sign: 'SIGN_VERIFY',
  Verify: 'SIGN_VERIFY',
  GenerateMac: 'GENERATE_VERIFY_MAC',
  DeriveSharedSecret: 'KEY_AGREEMENT',
} as const satisfies Record<string, KeyUsage>;
export type OperationName = keyof typeof operationUsages;

export const benchKeySpecs = [
  'SYMMETRIC_DEFAULT',
  'RSA_2048',
  'ECC_NIST_P256',
  'ECC_NIST_EDWARDS25519',
  'HMAC_256',
] as const;
export type BenchKeySpec = (typeof benchKeySpecs)[number];

export interface Case {
  readonly operation: OperationName;
  readonly keySpec: BenchKeySpec;
  /** Of the plaintext, the data key, the random bytes, the digest or message, the secret. */
  readonly payloadBytes: number;
  /** What authorization has to do beside the usual; measured with the daemon alone, beside `plainEncrypt`. */
  readonly burden?: Burden;
}

/** What burdens are added to. */
export const plainEncrypt: Case = { operation: 'Encrypt', keySpec: 'SYMMETRIC_DEFAULT', payloadBytes: 64 };

const symmetric = (operation: OperationName, payloadBytes: number): Case => ({
  operation,
  keySpec: 'SYMMETRIC_DEFAULT',
  payloadBytes,
});

export const cases: readonly Case[] = [
  plainEncrypt,
  symmetric('Encrypt', 4096),
  ...burdens.map((burden): Case => ({ ...plainEncrypt, burden })),
  symmetric('Decrypt', 64),
  symmetric('GenerateDataKey', 32),
  symmetric('GenerateRandom', 32),
  symmetric('DescribeKey', 0),
  { operation: 'Sign', keySpec: 'RSA_2048', payloadBytes: 32 },
  { operation: 'Sign', keySpec: 'ECC_NIST_P256', payloadBytes: 32 },
  { operation: 'Sign', keySpec: 'ECC_NIST_EDWARDS25519', payloadBytes: 64 },
  { operation: 'Verify', keySpec: 'ECC_NIST_P256', payloadBytes: 32 },
  { operation: 'GenerateMac', keySpec: 'HMAC_256', payloadBytes: 64 },
  { operation: 'DeriveSharedSecret', keySpec: 'ECC_NIST_P256', payloadBytes: 32 },
];

/** As the rows call it: `Encrypt`, `Sign RSA_2048`, `Encrypt (1,000 grants)`. */
export function nameOf({ operation, keySpec, burden }: Case): string {
  if (burden !== undefined) return `${operation} (${burden})`;
  return keySpec === 'SYMMETRIC_DEFAULT' ? operation : `${operation} ${keySpec}`;
}

export const connectionCounts = [1, 16, 128] as const;

/** A burden costs a request the same at any number of connections. */
export function connectionsOf({ burden }: Case): readonly number[] {
  return burden === undefined ? connectionCounts : [16];
}

/** As long as the AAD that Drawbridge binds for a small encryption context; the same number stands in `direct.c`. */
export const aadBytes = 96;

/** What Sign and Verify do with a key of that spec. */
export function signingAlgorithmOf(keySpec: BenchKeySpec): SigningAlgorithm {
  if (keySpec === 'RSA_2048') return 'RSASSA_PKCS1_V1_5_SHA_256';
  return keySpec === 'ECC_NIST_EDWARDS25519' ? 'ED25519_SHA_512' : 'ECDSA_SHA_256';
}

/** What the daemon made or was given beforehand, in base64. */
export interface Material {
  /** For Decrypt: made under the same key and encryption context. */
  readonly ciphertextBlob: string;
  /** For Verify. */
  readonly signature: string;
  /** For DeriveSharedSecret: of the other side. */
  readonly publicKey: string;
}

/** The request of a case. */
export function requestFor(
  { operation, keySpec, payloadBytes, burden }: Case,
  keyId: string,
  { ciphertextBlob, signature, publicKey }: Material,
): Readonly<Record<string, unknown>> {
  const payload = Buffer.alloc(payloadBytes, 'x').toString('base64');
  const signed = {
    KeyId: keyId,
    Message: payload,
    MessageType: keySpec === 'ECC_NIST_EDWARDS25519' ? 'RAW' : 'DIGEST',
    SigningAlgorithm: signingAlgorithmOf(keySpec),
  };
  switch (operation) {
    case 'Encrypt':
      return { KeyId: keyId, Plaintext: payload, EncryptionContext: contextOf(burden) };
    case 'Decrypt':
      return { KeyId: keyId, CiphertextBlob: ciphertextBlob, EncryptionContext: contextOf(burden) };
    case 'GenerateDataKey':
      return { KeyId: keyId, NumberOfBytes: payloadBytes, EncryptionContext: contextOf(burden) };
    case 'GenerateRandom':
      return { NumberOfBytes: payloadBytes };
    case 'DescribeKey':
      return { KeyId: keyId };
    case 'Sign':
      return signed;
    case 'Verify':
      return { ...signed, Signature: signature };
    case 'GenerateMac':
      return { KeyId: keyId, Message: payload, MacAlgorithm: 'HMAC_SHA_256' };
    case 'DeriveSharedSecret':
      return { KeyId: keyId, KeyAgreementAlgorithm: 'ECDH', PublicKey: publicKey };
    default:
      return operation satisfies never;
  }
}
