/** `Verify`: whether a signature belongs to a message and an asymmetric KMS key. One that does not is an error, never `false`. */

import { verify as verifySignature } from '../../keys/use/signatures.ts';
import { signingAlgorithm } from '../declaration/enumerations.ts';
import { ciphertextBlob, dryRun, grantTokens, keyNamedBy, keyReference, message } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { boolean, object, optional, string } from '../declaration/schema.ts';
import { messageType, signedMessage, signingConditions } from './signing-request.ts';

export const verify = operation({
  name: 'Verify',
  request: object({
    KeyId: keyReference,
    Message: message,
    MessageType: messageType,
    // The service's model gives signatures and MACs the limits of ciphertexts.
    Signature: ciphertextBlob,
    SigningAlgorithm: signingAlgorithm,
    GrantTokens: grantTokens,
    DryRun: dryRun,
  }),
  response: object({
    KeyId: optional(string()),
    SignatureValid: optional(boolean),
    SigningAlgorithm: optional(signingAlgorithm),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:Verify',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'Verify',
        conditions: signingConditions,
        usage: 'SIGN_VERIFY',
        algorithm: ({ SigningAlgorithm }) => SigningAlgorithm,
      },
    },
  },
  effect: 'uses',
  record: ['KeyId', 'MessageType', 'SigningAlgorithm', 'DryRun'],
  async rehearse({ request, keys }) {
    await verifySignature(keys.key, signedMessage(request), request.Signature);
  },
  async handle({ request, keys }) {
    await verifySignature(keys.key, signedMessage(request), request.Signature);
    return { KeyId: keys.key.key.arn, SignatureValid: true, SigningAlgorithm: request.SigningAlgorithm };
  },
});
