/** `Sign`: a signature with the private half of an asymmetric KMS key, over a message of up to 4,096 bytes or a digest. */

import { assertCanSign, sign as signInHsm } from '../../keys/use/signatures.ts';
import { signingAlgorithm } from '../declaration/enumerations.ts';
import { dryRun, grantTokens, keyNamedBy, keyReference, message } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { blob, object, optional, string } from '../declaration/schema.ts';
import { messageType, signedMessage, signingConditions } from './signing-request.ts';

export const sign = operation({
  name: 'Sign',
  request: object({
    KeyId: keyReference,
    Message: message,
    MessageType: messageType,
    GrantTokens: grantTokens,
    SigningAlgorithm: signingAlgorithm,
    DryRun: dryRun,
  }),
  response: object({
    KeyId: optional(string()),
    Signature: optional(blob()),
    SigningAlgorithm: optional(signingAlgorithm),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:Sign',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'Sign',
        conditions: signingConditions,
        usage: 'SIGN_VERIFY',
        algorithm: ({ SigningAlgorithm }) => SigningAlgorithm,
      },
    },
  },
  effect: 'uses',
  record: ['KeyId', 'MessageType', 'SigningAlgorithm', 'DryRun'],
  async rehearse({ request, keys }) {
    assertCanSign(keys.key, signedMessage(request));
  },
  async handle({ request, keys }) {
    const { key } = keys;
    const signature = await signInHsm(key, signedMessage(request));
    return { KeyId: key.key.arn, Signature: signature, SigningAlgorithm: request.SigningAlgorithm };
  },
});
