/**
 * Key material wrapped for `ImportKeyMaterial`, under the public key that `GetParametersForImport` gave.
 *
 *     RSAES_OAEP_SHA_256          RSA-OAEP( material )                                secrets
 *     RSA_AES_KEY_WRAP_SHA_256    RSA-OAEP( AES-256 key ) ‖ AES-KWP( material )       private keys, which are longer than RSA takes
 *
 * Source: AWS KMS developer guide, "Encrypt the key material"; RFC 8017 7.1 (OAEP, MGF1 with the same hash); RFC 5649 (KWP);
 * PKCS#11 3.0 2.1.21 (RSA AES KEY WRAP).
 */

import {
  createCipheriv,
  createPublicKey,
  constants as cryptoConstants,
  publicEncrypt,
  randomFillSync,
} from 'node:crypto';
import { isSecret } from './key-file.ts';

export type WrappingAlgorithm = 'RSAES_OAEP_SHA_256' | 'RSA_AES_KEY_WRAP_SHA_256';

/** As PKCS#11 and RFC 5649 name it: the alternative initial value. */
const kwpInitialValue = Buffer.from('a65959a6', 'hex');

export function wrappingAlgorithmFor(keySpec: string): WrappingAlgorithm {
  return isSecret(keySpec) ? 'RSAES_OAEP_SHA_256' : 'RSA_AES_KEY_WRAP_SHA_256';
}

/** @param publicKey SubjectPublicKeyInfo, DER, as the API has it. */
export function wrapMaterial(material: Buffer, publicKey: Buffer, algorithm: WrappingAlgorithm): Buffer {
  if (algorithm === 'RSAES_OAEP_SHA_256') return encryptOaep(material, publicKey);
  const wrappingKey = randomFillSync(Buffer.alloc(32));
  try {
    const cipher = createCipheriv('id-aes256-wrap-pad', wrappingKey, kwpInitialValue);
    const wrapped = Buffer.concat([cipher.update(material), cipher.final()]);
    return Buffer.concat([encryptOaep(wrappingKey, publicKey), wrapped]);
  } finally {
    wrappingKey.fill(0);
  }
}

function encryptOaep(secret: Buffer, publicKey: Buffer): Buffer {
  const key = createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
  const padding = cryptoConstants.RSA_PKCS1_OAEP_PADDING;
  return publicEncrypt({ key, padding, oaepHash: 'sha256' }, secret);
}
