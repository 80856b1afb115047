/**
 * From an error's name to the wire: the only place that knows HTTP status codes.
 *
 * AWS KMS answers every client error with 400 and every server error with 500, whatever the service's model says. A name
 * without a row does not compile; an error that is no `KmsError` never gets here, because the service turns it into
 * `KMSInternalException` without detail.
 *
 * Source: observed answers of the service; Smithy, "AWS JSON 1.1 protocol", "Operation error serialization".
 */

import type { KmsError, KmsErrorName } from '../kms/errors.ts';

const client = 400;
const server = 500;

const statusOf = {
  AccessDeniedException: client,
  AlreadyExistsException: client,
  CloudHsmClusterInUseException: client,
  CloudHsmClusterInvalidConfigurationException: client,
  CloudHsmClusterNotActiveException: client,
  CloudHsmClusterNotFoundException: client,
  CloudHsmClusterNotRelatedException: client,
  ConflictException: client,
  CustomKeyStoreHasCMKsException: client,
  CustomKeyStoreInvalidStateException: client,
  CustomKeyStoreNameInUseException: client,
  CustomKeyStoreNotFoundException: client,
  DependencyTimeoutException: server,
  DisabledException: client,
  DryRunOperationException: client,
  ExpiredImportTokenException: client,
  ExpiredTokenException: client,
  IncompleteSignatureException: client,
  IncorrectKeyException: client,
  IncorrectKeyMaterialException: client,
  IncorrectTrustAnchorException: client,
  InvalidAliasNameException: client,
  InvalidArnException: client,
  InvalidCiphertextException: client,
  InvalidGrantIdException: client,
  InvalidGrantTokenException: client,
  InvalidImportTokenException: client,
  InvalidKeyUsageException: client,
  InvalidMarkerException: client,
  InvalidSignatureException: client,
  KeyUnavailableException: server,
  KMSInternalException: server,
  KMSInvalidMacException: client,
  KMSInvalidSignatureException: client,
  KMSInvalidStateException: client,
  LimitExceededException: client,
  MalformedPolicyDocumentException: client,
  MissingAuthenticationTokenException: client,
  NotFoundException: client,
  PackedPolicyTooLargeException: client,
  RequestEntityTooLargeException: client,
  SerializationException: client,
  TagException: client,
  ThrottlingException: client,
  UnknownOperationException: client,
  UnrecognizedClientException: client,
  UnsupportedOperationException: client,
  ValidationException: client,
} as const satisfies Record<KmsErrorName, 400 | 500>;

export interface WireError {
  readonly statusCode: 400 | 403 | 500;
  /** JSON text; XML in the query protocol. */
  readonly body: string;
}

/**
 * What AWS sends by their names alone, so that nothing tells what was wrong with a ciphertext, a signature or a MAC. Our words,
 * which are the same whatever was, stand beside the name in a member of our own.
 */
const namesAlone: ReadonlySet<KmsErrorName> = new Set([
  'InvalidCiphertextException',
  'KMSInvalidMacException',
  'KMSInvalidSignatureException',
]);

/** A message that is empty is none: where AWS answers nothing but the name, it does not send the member. */
export function toWireError(error: KmsError): WireError {
  const { name, message } = error;
  const words = message === '' ? {} : namesAlone.has(name) ? { explanation: message } : { message };
  return { statusCode: statusOf[name], body: JSON.stringify({ __type: name, ...words }) };
}
