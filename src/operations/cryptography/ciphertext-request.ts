/**
 * What `Decrypt` and `ReEncrypt` share: finding the KMS key that a ciphertext belongs to.
 *
 * The ciphertext of an asymmetric key says nothing about its key, so the caller names key and algorithm. The blob of a
 * symmetric one names its key itself, and the key is that one. A caller who also names a key means "this one and no other", and
 * hears `IncorrectKeyException` when the blob belongs to another key of this daemon, also where the named one is no key for
 * encryption. A blob that cannot be read, or names a key that does not exist here, is an invalid ciphertext like any other:
 * nothing tells a forged blob from a foreign one.
 */

import { findReferencedKey } from '../../keys/key-reference.ts';
import { invalidCiphertext } from '../../keys/key-store-errors.ts';
import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { type EncryptionContext, parseCiphertext } from '../../keys/use/ciphertext.ts';
import type { Cipher } from '../../keys/use/encryption.ts';
import type { EncryptionAlgorithm } from '../../kms/algorithms.ts';
import { KmsError } from '../../kms/errors.ts';

interface CiphertextRequest {
  readonly CiphertextBlob?: Buffer | undefined;
  readonly DryRun?: boolean | undefined;
  readonly DryRunModifiers?: readonly 'IGNORE_CIPHERTEXT'[] | undefined;
}

/** Does the request ask about permissions alone, without a ciphertext? */
export function ignoresCiphertext(request: CiphertextRequest): boolean {
  return request.DryRunModifiers?.includes('IGNORE_CIPHERTEXT') ?? false;
}

/** How a request of one key wants its ciphertext to be read or made. */
export function cipherOf(request: {
  readonly EncryptionAlgorithm?: EncryptionAlgorithm | undefined;
  readonly EncryptionContext?: EncryptionContext | undefined;
}): Cipher {
  return { algorithm: request.EncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT', context: request.EncryptionContext };
}

/**
 * The ciphertext of a request, of whatever format.
 * @throws KmsError `ValidationException` when it is missing.
 */
export function ciphertextOf({ CiphertextBlob }: CiphertextRequest): Buffer {
  if (CiphertextBlob !== undefined) return CiphertextBlob;
  throw new KmsError(
    'ValidationException',
    "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not be null",
  );
}

/** For `needs`: the key of the request's ciphertext, checked against the key that `member` names, if it does. */
export function keyOfCiphertext<const Name extends string, const Algorithm extends string>(
  member: Name,
  algorithmMember: Algorithm,
): (
  request: CiphertextRequest & { readonly [M in Name]?: string | undefined } & {
    readonly [M in Algorithm]?: EncryptionAlgorithm | undefined;
  },
  directory: KeyView,
) => KmsKey {
  return (request, directory) => {
    const reference: string | undefined = request[member];
    const named = reference === undefined ? undefined : findReferencedKey(directory, reference, 'keyOrAlias');
    if (ignoresCiphertext(request)) return keyWithoutCiphertext(request, named, member);
    const ciphertext = ciphertextOf(request);
    // What a pair encrypted says nothing: whatever this blob looks like, the key is the one that was named.
    if (named !== undefined && isEncryptingPair(named)) return named;
    const blob = parseCiphertext(ciphertext);
    const key = blob === undefined ? undefined : directory.findKeyOfDigits(blob.keyIdDigits);
    if (key === undefined) {
      // One that never made a ciphertext is refused for its usage.
      if (named !== undefined && named.record.keySpec !== 'SYMMETRIC_DEFAULT') return named;
      throw needsKey(request[algorithmMember], member, named) ?? invalidCiphertext();
    }
    if (named !== undefined && named !== key) {
      throw new KmsError(
        'IncorrectKeyException',
        'The key ID in the request does not identify a CMK that can perform this operation.',
      );
    }
    return key;
  };
}

function isEncryptingPair({ record }: KmsKey): boolean {
  return record.keyUsage === 'ENCRYPT_DECRYPT' && record.keySpec !== 'SYMMETRIC_DEFAULT';
}

/** What to say when a ciphertext names no key and the algorithm is one whose ciphertexts never do. */
function needsKey(
  algorithm: EncryptionAlgorithm | undefined,
  member: string,
  named: KmsKey | undefined,
): KmsError | undefined {
  if (algorithm === undefined || algorithm === 'SYMMETRIC_DEFAULT' || named !== undefined) return undefined;
  return new KmsError('ValidationException', `${member} is required for ${algorithm}.`);
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
