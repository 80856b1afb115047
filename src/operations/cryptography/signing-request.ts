/** What `Sign` and `Verify` share: the message of a request, and what a policy may ask about it. */

import type { SignedMessage } from '../../keys/use/signed-message.ts';
import { type MessageType, messageTypes, type SigningAlgorithm } from '../../kms/algorithms.ts';
import type { Plaintext } from '../../secrets/secret-bytes.ts';
import { enumeration, optional } from '../declaration/schema.ts';

export const messageType = optional(enumeration(messageTypes));

export const signingConditions = ['kms:MessageType', 'kms:SigningAlgorithm'] as const;

export function signedMessage(request: {
  readonly Message: Plaintext;
  readonly MessageType?: MessageType | undefined;
  readonly SigningAlgorithm: SigningAlgorithm;
}): SignedMessage {
  return {
    algorithm: request.SigningAlgorithm,
    message: request.Message,
    messageType: request.MessageType ?? 'RAW',
  };
}
