/**
 * ML-KEM, which no HSM can do for us yet: both halves are refused by the name of the function that is missing.
 *
 * PKCS#11 3.2 has `C_EncapsulateKey` and `C_DecapsulateKey`; pkcs11js calls neither, and no token that was seen reports
 * `CKM_ML_KEM`. So there are no such KMS keys (CreateKey refuses them by what the token lacks), and the operations stand
 * here for callers who ask with other keys and must hear that the key is of the wrong kind.
 */

import { KmsError } from '../../kms/errors.ts';
import type { AuthorizedKey } from '../authorized-key.ts';

/** @throws KmsError `UnsupportedOperationException`. */
export function encapsulate({ key }: AuthorizedKey): never {
  throw missing(key.record.keySpec, 'C_EncapsulateKey');
}

/** @throws KmsError `UnsupportedOperationException`. */
export function decapsulate({ key }: AuthorizedKey): never {
  throw missing(key.record.keySpec, 'C_DecapsulateKey');
}

function missing(keySpec: string, functionName: string): KmsError {
  return new KmsError(
    'UnsupportedOperationException',
    `${keySpec} keys cannot be used: ${functionName} of PKCS#11 3.2 is not available.`,
  );
}
