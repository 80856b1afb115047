/**
 * What the operations about imported key material share: which material goes under which wrapping, and what a request may say of
 * a key whose material is one for ever.
 *
 * Source: AWS KMS API reference, GetParametersForImport and ImportKeyMaterial; developer guide, "Select a wrapping algorithm".
 */

import type { WrappingAlgorithm, WrappingKeySpec } from '../../hsm/key-store.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { KmsError } from '../../kms/errors.ts';
import type { KeySpec } from '../../kms/key-specs.ts';
import { enumeration } from '../declaration/schema.ts';

export const wrappingAlgorithm = enumeration([
  'RSAES_PKCS1_V1_5',
  'RSAES_OAEP_SHA_1',
  'RSAES_OAEP_SHA_256',
  'RSA_AES_KEY_WRAP_SHA_1',
  'RSA_AES_KEY_WRAP_SHA_256',
  'SM2PKE',
]);
export const wrappingKeySpec = enumeration(['RSA_2048', 'RSA_3072', 'RSA_4096', 'SM2']);

/** How material is to be wrapped, as the request says it. */
interface Wrapping {
  readonly WrappingAlgorithm: WrappingAlgorithm | 'RSAES_PKCS1_V1_5' | 'SM2PKE';
  readonly WrappingKeySpec: WrappingKeySpec | 'SM2';
}

/**
 * How material of this spec is to be wrapped, where it can be so.
 * @throws KmsError `UnsupportedOperationException` for what nothing can be wrapped with, `ValidationException` for what does not
 * go together.
 */
export function wrappingOf(
  keySpec: KeySpec,
  { WrappingAlgorithm, WrappingKeySpec }: Wrapping,
): { readonly wrappingAlgorithm: WrappingAlgorithm; readonly wrappingKeySpec: WrappingKeySpec } {
  // As of 10 October 2023 AWS KMS takes no PKCS #1 v1.5 any more; SM2 is for the Regions of China.
  if (WrappingAlgorithm === 'RSAES_PKCS1_V1_5' || WrappingAlgorithm === 'SM2PKE') {
    throw unsupported(`WrappingAlgorithm ${WrappingAlgorithm} is not supported.`);
  }
  if (WrappingKeySpec === 'SM2') throw unsupported('WrappingKeySpec SM2 is not supported.');
  // A PKCS#8 of P-521 is longer than what OAEP takes under so short a key, and any of RSA under every one.
  const isTooLong = keySpec.startsWith('RSA_') || (keySpec === 'ECC_NIST_P521' && WrappingKeySpec === 'RSA_2048');
  if (WrappingAlgorithm.startsWith('RSAES_') && isTooLong) {
    throw new KmsError(
      'ValidationException',
      `Wrapping algorithm ${WrappingAlgorithm} and wrapping key spec ${WrappingKeySpec} cannot be used to import a ${keySpec} key.`,
    );
  }
  return { wrappingAlgorithm: WrappingAlgorithm, wrappingKeySpec: WrappingKeySpec };
}

/** Several materials, which then have names and descriptions, are for symmetric encryption keys alone. */
export function hasSeveralMaterials({ record }: Pick<KmsKey, 'record'>): boolean {
  return record.keySpec === 'SYMMETRIC_DEFAULT';
}

function unsupported(message: string): KmsError {
  return new KmsError('UnsupportedOperationException', message);
}
