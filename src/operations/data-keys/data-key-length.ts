/** How long a data key is: what `GenerateDataKey` and `GenerateDataKeyWithoutPlaintext` read from their requests. */

import { KmsError } from '../../kms/errors.ts';

/**
 * @returns 16, 32, or the number of bytes asked for (1 to 1,024).
 * @throws KmsError `ValidationException` unless exactly one of the two members is given.
 */
export function dataKeyLengthBytes(request: {
  readonly NumberOfBytes?: number | undefined;
  readonly KeySpec?: 'AES_128' | 'AES_256' | undefined;
}): number {
  const { NumberOfBytes, KeySpec } = request;
  if ((NumberOfBytes === undefined) === (KeySpec === undefined)) {
    throw new KmsError('ValidationException', 'Please specify either number of bytes or key spec.');
  }
  return NumberOfBytes ?? (KeySpec === 'AES_128' ? 16 : 32);
}
