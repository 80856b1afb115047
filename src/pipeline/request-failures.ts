/** From whatever is thrown while a request runs to what its caller hears. */

import { fromKeyStoreError, internalMessage } from '../keys/key-store-errors.ts';
import { KmsError, type KmsErrorName } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import type { Payer } from '../kms/payer.ts';
import { StoreError } from '../store/store-error.ts';

/** A change whose turn did not come, because the HSM or the disk takes long over those before it. */
function isLate(error: unknown): boolean {
  return error instanceof StoreError && error.failure === 'busy';
}

function lateTurn(error: unknown): KmsError {
  return new KmsError(
    'DependencyTimeoutException',
    'The system timed out while trying to fulfill the request. You can retry the request.',
    error,
  );
}

/** Errors that are not the caller's fault: an operator must be able to read what really happened. */
const faults: ReadonlySet<KmsErrorName> = new Set([
  'KMSInternalException',
  'DependencyTimeoutException',
  'KeyUnavailableException',
]);

/** What the caller hears of whatever was thrown; what is no fault of his is in the log. */
export function toKmsError(
  error: unknown,
  request: { readonly requestId: string; readonly operationName: string; readonly payer: Payer },
  log: Logger,
): KmsError {
  const { requestId, operationName: operation, payer } = request;
  const translated = isLate(error) ? lateTurn(error) : fromKeyStoreError(error);
  if (translated instanceof KmsError) {
    if (faults.has(translated.name)) {
      log.error({ requestId, payer, operation, err: translated.cause ?? translated }, 'a request failed');
    }
    return translated;
  }
  log.error({ requestId, payer, operation, err: error }, 'a request failed in a way that should not happen');
  return new KmsError('KMSInternalException', internalMessage, error);
}
