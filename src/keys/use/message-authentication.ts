/**
 * MACs of HMAC KMS keys: computed and compared in the HSM's host, where the key is.
 *
 * Source: RFC 2104; AWS KMS API reference, GenerateMac and VerifyMac.
 */

import type { MacAlgorithm } from '../../kms/algorithms.ts';
import { KmsError } from '../../kms/errors.ts';
import type { Plaintext } from '../../secrets/secret-bytes.ts';
import type { AuthorizedKey } from '../authorized-key.ts';
import { inKeyStore } from '../key-store-errors.ts';

/** 28, 32, 48 or 64 bytes. */
export function generateMac(authorized: AuthorizedKey, algorithm: MacAlgorithm, message: Plaintext): Promise<Buffer> {
  const { keyStore, reference } = authorized.material;
  return inKeyStore(() => keyStore.mac({ ...reference, algorithm, data: message.reveal() }));
}

/** @throws KmsError `KMSInvalidMacException` for whatever is wrong with the MAC. */
export async function verifyMac(
  authorized: AuthorizedKey,
  algorithm: MacAlgorithm,
  message: Plaintext,
  mac: Buffer,
): Promise<void> {
  const { keyStore, reference } = authorized.material;
  const isMac = await inKeyStore(() => keyStore.verifyMac({ ...reference, algorithm, data: message.reveal(), mac }));
  if (!isMac) {
    throw new KmsError('KMSInvalidMacException', 'The MAC does not belong to the message, key and algorithm.');
  }
}
