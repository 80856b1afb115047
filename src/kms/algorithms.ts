/**
 * The algorithms of AWS KMS by name, one list for each KeyUsage.
 *
 * From these lists the schemas draw their enumerations, `key-specs.ts` what a key has, and the tables in `keys/` their rows:
 * a name without a row there does not compile. The host's table of KeySpecs is held to the same names by a test.
 *
 * Source: AWS KMS API reference, EncryptionAlgorithmSpec, SigningAlgorithmSpec, MacAlgorithmSpec,
 * KeyAgreementAlgorithmSpec, EncapsulationAlgorithmSpec and MessageType.
 */

export const encryptionAlgorithms = ['SYMMETRIC_DEFAULT', 'RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256', 'SM2PKE'] as const;
export type EncryptionAlgorithm = (typeof encryptionAlgorithms)[number];

export const signingAlgorithms = [
  'RSASSA_PSS_SHA_256',
  'RSASSA_PSS_SHA_384',
  'RSASSA_PSS_SHA_512',
  'RSASSA_PKCS1_V1_5_SHA_256',
  'RSASSA_PKCS1_V1_5_SHA_384',
  'RSASSA_PKCS1_V1_5_SHA_512',
  'ECDSA_SHA_256',
  'ECDSA_SHA_384',
  'ECDSA_SHA_512',
  'SM2DSA',
  'ML_DSA_SHAKE_256',
  'ED25519_SHA_512',
  'ED25519_PH_SHA_512',
] as const;
export type SigningAlgorithm = (typeof signingAlgorithms)[number];

/** Hashes by the names that Node.js and OpenSSL have for them, and the bytes of their digests. */
export const hashBytes = { sha256: 32, sha384: 48, sha512: 64 } as const;
export type HashName = keyof typeof hashBytes;

/**
 * The hash of the digest that a signing algorithm signs; `null`: it signs the message itself. SM2DSA's digest is of more than the
 * message (GB/T 32918.2 puts the signer's identity before it), so that no hash of the message is the right one.
 */
export const digestHashes = {
  RSASSA_PSS_SHA_256: 'sha256',
  RSASSA_PSS_SHA_384: 'sha384',
  RSASSA_PSS_SHA_512: 'sha512',
  RSASSA_PKCS1_V1_5_SHA_256: 'sha256',
  RSASSA_PKCS1_V1_5_SHA_384: 'sha384',
  RSASSA_PKCS1_V1_5_SHA_512: 'sha512',
  ECDSA_SHA_256: 'sha256',
  ECDSA_SHA_384: 'sha384',
  ECDSA_SHA_512: 'sha512',
  SM2DSA: undefined,
  ML_DSA_SHAKE_256: null,
  ED25519_SHA_512: null,
  ED25519_PH_SHA_512: 'sha512',
} as const satisfies Record<SigningAlgorithm, HashName | null | undefined>;

export const macAlgorithms = ['HMAC_SHA_224', 'HMAC_SHA_256', 'HMAC_SHA_384', 'HMAC_SHA_512'] as const;
export type MacAlgorithm = (typeof macAlgorithms)[number];

export const keyAgreementAlgorithms = ['ECDH'] as const;
export type KeyAgreementAlgorithm = (typeof keyAgreementAlgorithms)[number];

export const encapsulationAlgorithms = ['ML_KEM'] as const;
export type EncapsulationAlgorithm = (typeof encapsulationAlgorithms)[number];

/** What the `Message` of Sign and Verify is. */
export const messageTypes = ['RAW', 'DIGEST', 'EXTERNAL_MU'] as const;
export type MessageType = (typeof messageTypes)[number];
