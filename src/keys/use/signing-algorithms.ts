/**
 * What each signing algorithm is: one row with everything that signing and verifying need to know.
 *
 * `hash` is the algorithm's own: a message is hashed with it here, outside of the HSM, and a digest must be as long as its
 * output. Algorithms without one take the message as it is. `scheme` is what a signature is verified as.
 *
 * Sources: AWS KMS developer guide, "Key spec reference"; RFC 8017, sections 8.1 and 8.2; FIPS 186-5, sections 6 and 7;
 * FIPS 204, sections 5.2 and 6.2.
 */

import {
  digestHashes,
  type HashName,
  hashBytes,
  type MessageType,
  type SigningAlgorithm,
} from '../../kms/algorithms.ts';

export type SignatureScheme = 'PKCS1' | 'PSS' | 'ECDSA' | 'Ed25519' | 'ML-DSA';

export interface SigningAlgorithmRow {
  /** What `Message` may be. */
  readonly messageTypes: readonly MessageType[];
  readonly hash: { readonly name: HashName; readonly lengthBytes: number } | null;
  /** How long a message is that is no RAW one. */
  readonly digestBytes: number | null;
  /** `null`: no signature of this algorithm is verified outside of an HSM. */
  readonly scheme: SignatureScheme | null;
}

const hashed = (scheme: SignatureScheme, hash: HashName): SigningAlgorithmRow => ({
  messageTypes: ['RAW', 'DIGEST'],
  hash: { name: hash, lengthBytes: hashBytes[hash] },
  digestBytes: hashBytes[hash],
  scheme,
});

const signingAlgorithmRows = {
  // RFC 8017, 8.1: the salt is as long as the hash, and MGF1 uses the same hash.
  RSASSA_PSS_SHA_256: hashed('PSS', digestHashes.RSASSA_PSS_SHA_256),
  RSASSA_PSS_SHA_384: hashed('PSS', digestHashes.RSASSA_PSS_SHA_384),
  RSASSA_PSS_SHA_512: hashed('PSS', digestHashes.RSASSA_PSS_SHA_512),
  // RFC 8017, 8.2
  RSASSA_PKCS1_V1_5_SHA_256: hashed('PKCS1', digestHashes.RSASSA_PKCS1_V1_5_SHA_256),
  RSASSA_PKCS1_V1_5_SHA_384: hashed('PKCS1', digestHashes.RSASSA_PKCS1_V1_5_SHA_384),
  RSASSA_PKCS1_V1_5_SHA_512: hashed('PKCS1', digestHashes.RSASSA_PKCS1_V1_5_SHA_512),
  // FIPS 186-5, 6
  ECDSA_SHA_256: hashed('ECDSA', digestHashes.ECDSA_SHA_256),
  ECDSA_SHA_384: hashed('ECDSA', digestHashes.ECDSA_SHA_384),
  ECDSA_SHA_512: hashed('ECDSA', digestHashes.ECDSA_SHA_512),
  // GB/T 32918.2: SM3, whose digests have 32 bytes.
  SM2DSA: { messageTypes: ['RAW', 'DIGEST'], hash: null, digestBytes: 32, scheme: null },
  // FIPS 204, 5.2 and 6.2: the context is empty, and mu is 64 bytes.
  ML_DSA_SHAKE_256: { messageTypes: ['RAW', 'EXTERNAL_MU'], hash: null, digestBytes: 64, scheme: 'ML-DSA' },
  // FIPS 186-5, 7.6
  ED25519_SHA_512: { messageTypes: ['RAW'], hash: null, digestBytes: null, scheme: 'Ed25519' },
  // FIPS 186-5, 7.8: takes a digest, and hashes it once more by itself.
  ED25519_PH_SHA_512: {
    messageTypes: ['DIGEST'],
    hash: null,
    digestBytes: hashBytes[digestHashes.ED25519_PH_SHA_512],
    scheme: null,
  },
} as const satisfies Record<SigningAlgorithm, SigningAlgorithmRow>;

export function signingAlgorithmRow(algorithm: SigningAlgorithm): SigningAlgorithmRow {
  return signingAlgorithmRows[algorithm];
}
