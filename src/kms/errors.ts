/**
 * The errors that a caller can be told of, named as AWS KMS names them.
 *
 * A `KmsError` is always meant for the caller: its message is AWS's wording and never carries a secret, a PIN, a
 * handle, a path or a stack. What really happened goes into `cause`, which at most the log sees.
 * Failures of the world (token, disk, peer) are other types and become a `KmsError` in the layer that can judge them.
 * HTTP status codes are not known here: `http/wire-errors.ts` has the table from name to wire.
 *
 * Source: "Errors" of each operation in the AWS KMS API reference, and its "Common Errors".
 */

/** Every error name that leaves the daemon. A new one needs a row in `http/wire-errors.ts`, or that file does not compile. */
export type KmsErrorName =
  | 'AccessDeniedException'
  | 'AlreadyExistsException'
  | 'CloudHsmClusterInUseException'
  | 'CloudHsmClusterInvalidConfigurationException'
  | 'CloudHsmClusterNotActiveException'
  | 'CloudHsmClusterNotFoundException'
  | 'CloudHsmClusterNotRelatedException'
  | 'ConflictException'
  | 'CustomKeyStoreHasCMKsException'
  | 'CustomKeyStoreInvalidStateException'
  | 'CustomKeyStoreNameInUseException'
  | 'CustomKeyStoreNotFoundException'
  | 'DependencyTimeoutException'
  | 'DisabledException'
  | 'DryRunOperationException'
  | 'ExpiredImportTokenException'
  | 'ExpiredTokenException'
  | 'IncompleteSignatureException'
  | 'IncorrectKeyException'
  | 'IncorrectKeyMaterialException'
  | 'IncorrectTrustAnchorException'
  | 'InvalidAliasNameException'
  | 'InvalidArnException'
  | 'InvalidCiphertextException'
  | 'InvalidGrantIdException'
  | 'InvalidGrantTokenException'
  | 'InvalidImportTokenException'
  | 'InvalidKeyUsageException'
  | 'InvalidMarkerException'
  | 'InvalidSignatureException'
  | 'KeyUnavailableException'
  | 'KMSInternalException'
  | 'KMSInvalidMacException'
  | 'KMSInvalidSignatureException'
  | 'KMSInvalidStateException'
  | 'LimitExceededException'
  | 'MalformedPolicyDocumentException'
  | 'MissingAuthenticationTokenException'
  | 'NotFoundException'
  | 'PackedPolicyTooLargeException'
  | 'RequestEntityTooLargeException'
  | 'SerializationException'
  | 'TagException'
  | 'ThrottlingException'
  | 'UnknownOperationException'
  | 'UnrecognizedClientException'
  | 'UnsupportedOperationException'
  | 'ValidationException';

/**
 * What a caller is refused is no fault of ours, happens as often as callers like, and says where it came from by its words: it has no
 * stack trace, which takes as long as all else of a refusal.
 */
export class KmsError extends Error {
  override readonly name: KmsErrorName;

  /**
   * @param name The AWS error name, sent as `__type`.
   * @param message AWS's wording, sent to the caller.
   * @param cause What the operator may know and the caller may not.
   */
  constructor(name: KmsErrorName, message: string, cause?: unknown) {
    const { stackTraceLimit } = Error;
    if (name !== 'KMSInternalException') Error.stackTraceLimit = 0;
    super(message, cause === undefined ? undefined : { cause });
    Error.stackTraceLimit = stackTraceLimit;
    this.name = name;
  }
}
