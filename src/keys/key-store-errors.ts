/**
 * From a key store's failure to what the caller is told: one row per failure.
 *
 * The key store's own message is for operators and stays in `cause`; only what a token lacks is passed on, since the
 * caller can act on it (choose another KeySpec).
 */

import { KeyStoreError, type KeyStoreFailure } from '../hsm/key-store.ts';
import { KmsError, type KmsErrorName } from '../kms/errors.ts';

/** The one text for every way in which a ciphertext can be wrong. */
const invalidCiphertextMessage =
  'The ciphertext, or the encryption context that is authenticated with it, is corrupted, missing, or otherwise invalid.';
/** The one text for every way in which key material can be other than expected. */
export const incorrectKeyMaterialMessage =
  'The key material in the request is expired, invalid, or does not meet expectations.';
export const internalMessage =
  'The request was rejected because an internal exception occurred. The request can be retried.';

const answers = {
  ciphertextInvalid: { name: 'InvalidCiphertextException', message: () => invalidCiphertextMessage },
  // AWS says no more than this of bytes that are no public key.
  publicKeyInvalid: { name: 'ValidationException', message: () => '' },
  materialInvalid: {
    name: 'IncorrectKeyMaterialException',
    message: () => incorrectKeyMaterialMessage,
  },
  keyUnavailable: {
    name: 'KeyUnavailableException',
    message: () => 'The key material of the KMS key is not available.',
  },
  unsupported: { name: 'UnsupportedOperationException', message: (detail) => detail },
  tokenFull: { name: 'LimitExceededException', message: () => 'The HSM has no room for another key.' },
  busy: { name: 'ThrottlingException', message: () => 'Rate exceeded' },
  unavailable: { name: 'KMSInternalException', message: () => internalMessage },
  // What AWS says of keys in a custom key store that is connected and cannot be reached.
  away: {
    name: 'KMSInvalidStateException',
    message: () => 'KMS cannot communicate with your CloudHSM cluster',
  },
  timeout: {
    name: 'DependencyTimeoutException',
    message: () => 'The HSM did not answer in time. The request can be retried.',
  },
  internal: { name: 'KMSInternalException', message: () => internalMessage },
} as const satisfies Record<KeyStoreFailure, { name: KmsErrorName; message: (detail: string) => string }>;

/** The one error for every way in which a ciphertext can be wrong. */
export function invalidCiphertext(): KmsError {
  return new KmsError('InvalidCiphertextException', invalidCiphertextMessage);
}

/** Makes a call to a key store; what it throws is then what the caller is told. */
export function inKeyStore<T>(call: () => Promise<T>): Promise<T> {
  try {
    return call().then(undefined, rethrow);
  } catch (error) {
    return Promise.reject(fromKeyStoreError(error));
  }
}

function rethrow(error: unknown): never {
  throw fromKeyStoreError(error);
}

/** What to throw for an error that came out of a key store; anything but a `KeyStoreError` is given back unchanged. */
export function fromKeyStoreError(error: unknown): unknown {
  if (!(error instanceof KeyStoreError)) return error;
  const { name, message } = answers[error.failure];
  return new KmsError(name, message(error.message), error);
}
