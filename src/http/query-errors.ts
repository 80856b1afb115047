/**
 * From an error's name to AWS's query protocol, which STS speaks: other names than KMS has for the same things, in XML,
 * and 403 for whoever did not prove who they are. What has no row becomes an internal failure without detail.
 *
 * Source: Smithy, "AWS query protocol", "Operation error serialization"; STS API reference, "Common Error Types".
 */

import type { KmsError, KmsErrorName } from '../kms/errors.ts';
import type { WireError } from './wire-errors.ts';

interface QueryError {
  readonly statusCode: WireError['statusCode'];
  readonly code: string;
}

const sender = (code: string): QueryError => ({ statusCode: 400, code });
const forbidden = (code: string): QueryError => ({ statusCode: 403, code });

const queryErrors: Partial<Record<KmsErrorName, QueryError>> = {
  AccessDeniedException: forbidden('AccessDenied'),
  ExpiredTokenException: forbidden('ExpiredToken'),
  IncompleteSignatureException: sender('IncompleteSignature'),
  InvalidSignatureException: forbidden('SignatureDoesNotMatch'),
  LimitExceededException: sender('LimitExceeded'),
  MalformedPolicyDocumentException: sender('MalformedPolicyDocument'),
  MissingAuthenticationTokenException: forbidden('MissingAuthenticationToken'),
  PackedPolicyTooLargeException: sender('PackedPolicyTooLarge'),
  RequestEntityTooLargeException: sender('RequestEntityTooLarge'),
  SerializationException: sender('MalformedInput'),
  ThrottlingException: sender('Throttling'),
  UnknownOperationException: sender('InvalidAction'),
  UnrecognizedClientException: forbidden('InvalidClientTokenId'),
  ValidationException: sender('ValidationError'),
};

const internal: QueryError = { statusCode: 500, code: 'InternalFailure' };

export const stsNamespace = 'https://sts.amazonaws.com/doc/2011-06-15/';

export function toQueryError(error: KmsError, requestId: string): WireError {
  const { statusCode, code } = queryErrors[error.name] ?? internal;
  const type = statusCode === 500 ? 'Receiver' : 'Sender';
  const message = queryErrors[error.name] === undefined ? 'An internal failure.' : error.message;
  return {
    statusCode,
    body:
      `<ErrorResponse xmlns="${stsNamespace}"><Error><Type>${type}</Type><Code>${code}</Code>` +
      `<Message>${escapeXml(message)}</Message></Error><RequestId>${escapeXml(requestId)}</RequestId></ErrorResponse>`,
  };
}

/** Text as XML's content. Characters that XML cannot carry at all become U+FFFD. */
export function escapeXml(text: string): string {
  return (
    text
      .toWellFormed()
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced here.
      .replaceAll(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
      .replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
  );
}
