/**
 * ECDH with the private key of a KMS key and somebody's public key. The shared secret is there to leave the HSM.
 *
 * Whether the peer's key is a point of the right curve is checked in the HSM's host before the token sees it
 * (`KeyStore.deriveSharedSecret`): a point of another curve would give bits of the private key away.
 *
 * Source: NIST SP 800-56A rev. 3, 5.7.1.2 (the cofactor of these curves is 1).
 */

import type { Plaintext } from '../../secrets/secret-bytes.ts';
import type { AuthorizedKey } from '../authorized-key.ts';
import { inKeyStore } from '../key-store-errors.ts';

/**
 * @param publicKey The peer's, X.509 SubjectPublicKeyInfo in DER.
 * @returns The x coordinate of the shared point, as long as the curve's field: 32, 48 or 66 bytes.
 * @throws KmsError `ValidationException` for a public key that is none, or of another curve.
 */
export function deriveSharedSecret({ material }: AuthorizedKey, publicKey: Buffer): Promise<Plaintext> {
  const { keyStore, reference } = material;
  return inKeyStore(() => keyStore.deriveSharedSecret({ ...reference, publicKey }));
}
