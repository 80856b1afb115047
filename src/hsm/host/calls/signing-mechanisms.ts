/**
 * Signing algorithms and MACs as PKCS#11 has them: one row per KMS algorithm.
 *
 * Hashing is done before (it takes no key), so the mechanisms are those that take a digest; PKCS#1 v1.5 wants it inside of a
 * DigestInfo. Ed25519 and ML-DSA take the message itself.
 *
 * Source: PKCS#11 3.1, sections 6.1.6 (CKM_RSA_PKCS), 6.1.10 (CKM_RSA_PKCS_PSS), 6.3.12 (CKM_ECDSA), 6.3.16 (CKM_EDDSA), 6.20 to 6.24
 * (HMAC); PKCS#11 3.2 (CKM_ML_DSA: without a parameter the context is empty and the signature hedged where the token can, which is
 * what KMS makes); RFC 8017, section 9.2, note 1 (the DER that stands before a digest).
 */

import { constant, type Mechanism } from '../token/cryptoki.ts';

export interface SigningAlgorithm {
  readonly keyType: 'CKK_RSA' | 'CKK_EC' | 'CKK_EC_EDWARDS' | 'CKK_ML_DSA';
  readonly mechanismName: string;
  readonly mechanism: Mechanism;
  readonly content: 'DIGEST' | 'RAW';
  /** How long a digest must be; `null` for a message of any length. */
  readonly digestBytes: number | null;
  /** What is signed begins with this. */
  readonly prefix: Buffer;
  /** How long the signature is; `null` where the key says it: as long as RSA's modulus, or by ML-DSA's parameter set. */
  readonly signatureBytes: number | null;
}

const nothing = Buffer.alloc(0);

const pkcs1 = (digestBytes: number, digestInfo: string): SigningAlgorithm => ({
  keyType: 'CKK_RSA',
  mechanismName: 'CKM_RSA_PKCS',
  mechanism: { mechanism: constant('CKM_RSA_PKCS') },
  content: 'DIGEST',
  digestBytes,
  prefix: Buffer.from(digestInfo, 'hex'),
  signatureBytes: null,
});

const pss = (digestBytes: number, hash: string, mgf: string): SigningAlgorithm => ({
  keyType: 'CKK_RSA',
  mechanismName: 'CKM_RSA_PKCS_PSS',
  mechanism: {
    mechanism: constant('CKM_RSA_PKCS_PSS'),
    parameter: {
      type: constant('CK_PARAMS_RSA_PSS'),
      hashAlg: constant(hash),
      mgf: constant(mgf),
      saltLen: digestBytes,
    },
  },
  content: 'DIGEST',
  digestBytes,
  prefix: nothing,
  signatureBytes: null,
});

/** The token gives r and s one after the other, each as long as the curve's field. */
const ecdsa = (digestBytes: number, fieldBytes: number): SigningAlgorithm => ({
  keyType: 'CKK_EC',
  mechanismName: 'CKM_ECDSA',
  mechanism: { mechanism: constant('CKM_ECDSA') },
  content: 'DIGEST',
  digestBytes,
  prefix: nothing,
  signatureBytes: 2 * fieldBytes,
});

export const signingAlgorithms: ReadonlyMap<string, SigningAlgorithm> = new Map([
  ['RSASSA_PKCS1_V1_5_SHA_256', pkcs1(32, '3031300d060960864801650304020105000420')],
  ['RSASSA_PKCS1_V1_5_SHA_384', pkcs1(48, '3041300d060960864801650304020205000430')],
  ['RSASSA_PKCS1_V1_5_SHA_512', pkcs1(64, '3051300d060960864801650304020305000440')],
  ['RSASSA_PSS_SHA_256', pss(32, 'CKM_SHA256', 'CKG_MGF1_SHA256')],
  ['RSASSA_PSS_SHA_384', pss(48, 'CKM_SHA384', 'CKG_MGF1_SHA384')],
  ['RSASSA_PSS_SHA_512', pss(64, 'CKM_SHA512', 'CKG_MGF1_SHA512')],
  ['ECDSA_SHA_256', ecdsa(32, 32)],
  ['ECDSA_SHA_384', ecdsa(48, 48)],
  ['ECDSA_SHA_512', ecdsa(64, 66)],
  [
    'ED25519_SHA_512',
    {
      keyType: 'CKK_EC_EDWARDS',
      mechanismName: 'CKM_EDDSA',
      mechanism: { mechanism: constant('CKM_EDDSA') },
      content: 'RAW',
      digestBytes: null,
      prefix: nothing,
      signatureBytes: 64,
    },
  ],
  [
    'ML_DSA_SHAKE_256',
    {
      keyType: 'CKK_ML_DSA',
      mechanismName: 'CKM_ML_DSA',
      mechanism: { mechanism: constant('CKM_ML_DSA') },
      content: 'RAW',
      digestBytes: null,
      prefix: nothing,
      signatureBytes: null,
    },
  ],
]);

export interface MacAlgorithm {
  /** For the meaning of return values (`TokenSession.step`); put together once, as this is the hot path. */
  readonly initStep: string;
  readonly step: string;
  readonly mechanism: Mechanism;
  readonly macBytes: number;
}

const hmac = (mechanismName: string, macBytes: number): MacAlgorithm => ({
  initStep: `${mechanismName} C_SignInit`,
  step: `${mechanismName} C_Sign`,
  mechanism: { mechanism: constant(mechanismName) },
  macBytes,
});

export const macAlgorithms: ReadonlyMap<string, MacAlgorithm> = new Map([
  ['HMAC_SHA_224', hmac('CKM_SHA224_HMAC', 28)],
  ['HMAC_SHA_256', hmac('CKM_SHA256_HMAC', 32)],
  ['HMAC_SHA_384', hmac('CKM_SHA384_HMAC', 48)],
  ['HMAC_SHA_512', hmac('CKM_SHA512_HMAC', 64)],
]);
