/**
 * RSAES-OAEP with asymmetric KMS keys: encryption with the public key on record, decryption in the HSM.
 *
 * A ciphertext is the standard's and nothing else: it names no key, has no room for an encryption context, and may as well
 * have been made by whoever has the public key. Every way in which one can be wrong is one error with one text. Whether the
 * padding of a decrypted ciphertext was wrong is known to nobody but the HSM's host, which takes the same steps either way
 * (Manger, CRYPTO 2001). A ciphertext of the wrong length is not sent there: its length is nothing that its sender learns.
 *
 * Source: RFC 8017, section 7.1; the MGF's hash is the same as the label's, and the label is empty.
 */

import { constants, publicEncrypt } from 'node:crypto';
import { KmsError } from '../../kms/errors.ts';
import type { Plaintext } from '../../secrets/secret-bytes.ts';
import type { AuthorizedKey } from '../authorized-key.ts';
import { inKeyStore, invalidCiphertext } from '../key-store-errors.ts';
import { publicKeyOf } from './public-keys.ts';

/** One row per algorithm: its hash. */
const oaepHashes = {
  RSAES_OAEP_SHA_1: { name: 'sha1', lengthBytes: 20 },
  RSAES_OAEP_SHA_256: { name: 'sha256', lengthBytes: 32 },
} as const;
export type OaepAlgorithm = keyof typeof oaepHashes;

/** @throws KmsError `ValidationException` when the plaintext is too long for the key and algorithm. */
export function assertFits(authorized: AuthorizedKey, algorithm: OaepAlgorithm, plaintext: Plaintext): void {
  const maxBytes = modulusBytes(authorized) - 2 * oaepHashes[algorithm].lengthBytes - 2;
  if (plaintext.lengthBytes <= maxBytes) return;
  throw new KmsError(
    'ValidationException',
    `Algorithm ${algorithm} and key spec ${authorized.key.record.keySpec} cannot encrypt data larger than ${maxBytes} bytes.`,
  );
}

/** @throws KmsError `ValidationException`, as `assertFits`. */
export function encrypt(authorized: AuthorizedKey, algorithm: OaepAlgorithm, plaintext: Plaintext): Buffer {
  assertFits(authorized, algorithm, plaintext);
  const oaepHash = oaepHashes[algorithm].name;
  return publicEncrypt(
    { key: publicKeyOf(authorized), padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash },
    plaintext.reveal(),
  );
}

/** @throws KmsError `InvalidCiphertextException`. */
export async function decrypt(
  authorized: AuthorizedKey,
  algorithm: OaepAlgorithm,
  ciphertext: Buffer,
): Promise<Plaintext> {
  if (ciphertext.length !== modulusBytes(authorized)) throw invalidCiphertext();
  const { keyStore, reference } = authorized.material;
  return inKeyStore(() => keyStore.decryptAsymmetric({ ...reference, algorithm, ciphertext }));
}

function modulusBytes(authorized: AuthorizedKey): number {
  const bits = publicKeyOf(authorized).asymmetricKeyDetails?.modulusLength;
  // The pipeline compared the algorithm with the KeySpec, so this is an RSA key.
  if (bits === undefined) throw new TypeError(`the public key of ${authorized.key.record.keyId} is no RSA key`);
  return bits / 8;
}
