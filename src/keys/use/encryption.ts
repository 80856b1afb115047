/**
 * Encryption and decryption with KMS keys of either kind: the algorithm says which.
 *
 * The algorithm was compared with the key's own before an `AuthorizedKey` got here; the two kinds share the errors and
 * nothing else. Only symmetric keys have an encryption context and name their key material.
 */

import type { EncryptionAlgorithm } from '../../kms/algorithms.ts';
import { KmsError } from '../../kms/errors.ts';
import type { Plaintext } from '../../secrets/secret-bytes.ts';
import type { AuthorizedKey } from '../authorized-key.ts';

import { invalidCiphertext } from '../key-store-errors.ts';
import type { KeyLife } from '../life/key-life.ts';
import * as asymmetric from './asymmetric-encryption.ts';
import { type EncryptionContext, parseCiphertext } from './ciphertext.ts';
import * as symmetric from './symmetric-encryption.ts';

/** How a key encrypts or decrypts in one request. */
export interface Cipher {
  readonly algorithm: EncryptionAlgorithm;
  readonly context: EncryptionContext | undefined;
}

/** What was used, as the API tells it. */
export interface UsedCipher {
  readonly algorithm: EncryptionAlgorithm;
  /** Symmetric keys only. */
  readonly keyMaterialId?: string;
}

/**
 * @throws KmsError `ValidationException` for a plaintext that is too long or too short for the key, and for a context that it cannot
 * have.
 */
export function encrypt(
  life: Pick<KeyLife, 'rotate'>,
  authorized: AuthorizedKey,
  { algorithm, context }: Cipher,
  plaintext: Plaintext,
): Promise<UsedCipher & { readonly ciphertextBlob: Buffer }> {
  switch (algorithm) {
    case 'SYMMETRIC_DEFAULT':
      return symmetric.encrypt(life, authorized, plaintext, context);
    case 'RSAES_OAEP_SHA_1':
    case 'RSAES_OAEP_SHA_256':
      assertNoContext(context);
      return Promise.resolve({ ciphertextBlob: asymmetric.encrypt(authorized, algorithm, plaintext), algorithm });
    case 'SM2PKE':
      throw noSm2();
    default:
      return algorithm satisfies never;
  }
}

/** @throws KmsError `InvalidCiphertextException` for whatever is wrong with a ciphertext. */
export async function decrypt(
  authorized: AuthorizedKey,
  { algorithm, context }: Cipher,
  ciphertext: Buffer,
): Promise<UsedCipher & { readonly plaintext: Plaintext }> {
  switch (algorithm) {
    case 'SYMMETRIC_DEFAULT': {
      const blob = parseCiphertext(ciphertext);
      if (blob === undefined) throw invalidCiphertext();
      return symmetric.decrypt(authorized, blob, context);
    }
    case 'RSAES_OAEP_SHA_1':
    case 'RSAES_OAEP_SHA_256':
      assertNoContext(context);
      return { plaintext: await asymmetric.decrypt(authorized, algorithm, ciphertext), algorithm };
    case 'SM2PKE':
      throw noSm2();
    default:
      return algorithm satisfies never;
  }
}

/** What can be known to fail without encrypting anything, for a dry run. */
export function assertCanEncrypt(
  authorized: AuthorizedKey,
  { algorithm, context }: Cipher,
  plaintext: Plaintext,
): void {
  if (algorithm === 'SYMMETRIC_DEFAULT') {
    symmetric.assertNotEmpty(plaintext);
    return;
  }
  assertNoContext(context);
  if (algorithm !== 'SM2PKE') asymmetric.assertFits(authorized, algorithm, plaintext);
}

/** The standard formats of asymmetric ciphertexts have no room for it: to take it and not bind it would be a lie. */
function assertNoContext(context: EncryptionContext | undefined): void {
  if (context === undefined || Object.keys(context).length === 0) return;
  throw new KmsError(
    'ValidationException',
    'EncryptionContext is not supported when encrypting/decrypting with asymmetric CMKs.',
  );
}

function noSm2(): KmsError {
  return new KmsError('UnsupportedOperationException', 'SM2PKE is not supported: PKCS#11 has no mechanism for it.');
}
