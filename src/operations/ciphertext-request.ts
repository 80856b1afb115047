/**
 * What `Decrypt` and `ReEncrypt` share: a ciphertext blob that says itself which KMS key it belongs to.
 *
 * The key is the one that the blob names. A caller who also names a key means "this one and no other", and hears
 * `IncorrectKeyException` when the blob belongs to another key of this daemon. A blob that cannot be read, or names a key
 * that does not exist here, is an invalid ciphertext like any other: nothing tells a forged blob from a foreign one.
 */

import { type CiphertextBlob, parseCiphertext } from '../keys/ciphertext.ts';
import type { KeyDirectory } from '../keys/key-directory.ts';
import { findReferencedKey } from '../keys/key-reference.ts';
import type { KmsKey } from '../keys/kms-key.ts';
import { invalidCiphertext } from '../keys/symmetric-encryption.ts';
import { KmsError } from '../kms/errors.ts';

interface CiphertextRequest {
  readonly CiphertextBlob?: Buffer | undefined;
  readonly DryRun?: boolean | undefined;
  readonly DryRunModifiers?: readonly 'IGNORE_CIPHERTEXT'[] | undefined;
}

/** Does the request ask about permissions alone, without a ciphertext? */
export function ignoresCiphertext(request: CiphertextRequest): boolean {
  return request.DryRunModifiers?.includes('IGNORE_CIPHERTEXT') ?? false;
}

/**
 * The blob of a request.
 * @throws KmsError `InvalidCiphertextException` when it is none; `ValidationException` when it is missing.
 */
export function blobOf(request: CiphertextRequest): CiphertextBlob {
  if (request.CiphertextBlob === undefined) {
    throw new KmsError(
      'ValidationException',
      "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not be null",
    );
  }
  const blob = parseCiphertext(request.CiphertextBlob);
  if (blob === undefined) throw invalidCiphertext();
  return blob;
}

/** For `needs`: the key of the request's ciphertext blob, checked against the key that `member` names, if it does. */
export function keyOfCiphertext<const Name extends string>(
  member: Name,
): (request: CiphertextRequest & { readonly [M in Name]?: string | undefined }, directory: KeyDirectory) => KmsKey {
  return (request, directory) => {
    const named =
      request[member] === undefined ? undefined : findReferencedKey(directory, request[member], 'keyOrAlias');
    if (ignoresCiphertext(request)) return keyWithoutCiphertext(request, named, member);
    const blob = blobOf(request);
    const key = directory.findKey(blob.keyId);
    if (key === undefined) throw invalidCiphertext();
    if (named !== undefined && named.record.keyId !== blob.keyId) {
      throw new KmsError(
        'IncorrectKeyException',
        'The key ID in the request does not identify a CMK that can perform this operation.',
      );
    }
    return key;
  };
}

function keyWithoutCiphertext(request: CiphertextRequest, named: KmsKey | undefined, member: string): KmsKey {
  if (request.DryRun !== true) {
    throw new KmsError('ValidationException', 'DryRunModifiers can be specified only when DryRun is true.');
  }
  if (named === undefined) {
    throw new KmsError('ValidationException', `${member} is required when DryRunModifiers contains IGNORE_CIPHERTEXT.`);
  }
  return named;
}
