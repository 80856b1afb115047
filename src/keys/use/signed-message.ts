/**
 * From the `Message` and `MessageType` of Sign and Verify to the bytes that are signed.
 *
 * The algorithm says which types it takes and how long a digest is; nothing is cut or padded to fit.
 */

import { createHash } from 'node:crypto';
import type { SignedContent } from '../../hsm/key-store.ts';
import type { MessageType, SigningAlgorithm } from '../../kms/algorithms.ts';
import { KmsError } from '../../kms/errors.ts';
import type { Plaintext } from '../../secrets/secret-bytes.ts';
import { signingAlgorithmRow } from './signing-algorithms.ts';

/** What a caller signs, or says was signed. */
export interface SignedMessage {
  readonly algorithm: SigningAlgorithm;
  readonly message: Plaintext;
  readonly messageType: MessageType;
}

/** @throws KmsError `ValidationException` when the algorithm does not take such a message. */
export function assertSignable({ algorithm, message, messageType }: SignedMessage): void {
  const { messageTypes, digestBytes } = signingAlgorithmRow(algorithm);
  if (!messageTypes.includes(messageType)) {
    throw new KmsError(
      'ValidationException',
      `Message type ${messageType} is incompatible with algorithm ${algorithm}.`,
    );
  }
  if (messageType !== 'RAW' && message.lengthBytes !== digestBytes) {
    throw new KmsError('ValidationException', `Digest is invalid length for algorithm ${algorithm}.`);
  }
}

/**
 * What is handed on to whoever signs: a RAW message is hashed here when the algorithm begins with a hash, so that no HSM
 * has to and the pipe carries 64 bytes at most.
 *
 * A mu cannot be handed on: PKCS#11 3.2 signs it with no mechanism (CKM_ML_DSA computes it from the message, CKM_HASH_ML_DSA
 * signs something else), and a mu that is signed as if it were a message is a signature of another message.
 * @throws KmsError as `assertSignable`, and `UnsupportedOperationException` for a mu.
 */
export function hashedMessage(signed: SignedMessage): { readonly content: SignedContent; readonly bytes: Buffer } {
  assertSignable(signed);
  const { algorithm, message, messageType } = signed;
  if (messageType === 'EXTERNAL_MU') {
    throw new KmsError(
      'UnsupportedOperationException',
      'MessageType EXTERNAL_MU is not supported by the HSM: CKM_ML_DSA of PKCS#11 3.2 takes the message itself, and no mechanism takes a mu.',
    );
  }
  const { hash } = signingAlgorithmRow(algorithm);
  if (messageType !== 'RAW' || hash === null) return { content: messageType, bytes: message.reveal() };
  return { content: 'DIGEST', bytes: createHash(hash.name).update(message.reveal()).digest() };
}
