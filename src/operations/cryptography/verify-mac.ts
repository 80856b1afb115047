/** `VerifyMac`: whether an HMAC belongs to a message and an HMAC KMS key. One that does not is an error, never `false`. */

import { verifyMac as verifyInHsm } from '../../keys/use/message-authentication.ts';
import { macAlgorithm } from '../declaration/enumerations.ts';
import { ciphertextBlob, dryRun, grantTokens, keyNamedBy, keyReference, message } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { boolean, object, optional, string } from '../declaration/schema.ts';

export const verifyMac = operation({
  name: 'VerifyMac',
  request: object({
    Message: message,
    KeyId: keyReference,
    MacAlgorithm: macAlgorithm,
    // The service's model gives signatures and MACs the limits of ciphertexts.
    Mac: ciphertextBlob,
    GrantTokens: grantTokens,
    DryRun: dryRun,
  }),
  response: object({
    KeyId: optional(string()),
    MacValid: optional(boolean),
    MacAlgorithm: optional(macAlgorithm),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:VerifyMac',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'VerifyMac',
        conditions: ['kms:MacAlgorithm'],
        usage: 'GENERATE_VERIFY_MAC',
        algorithm: ({ MacAlgorithm }) => MacAlgorithm,
      },
    },
  },
  effect: 'uses',
  record: ['KeyId', 'MacAlgorithm', 'DryRun'],
  async rehearse({ request, keys }) {
    await verifyInHsm(keys.key, request.MacAlgorithm, request.Message, request.Mac);
  },
  async handle({ request, keys }) {
    await verifyInHsm(keys.key, request.MacAlgorithm, request.Message, request.Mac);
    return { KeyId: keys.key.key.arn, MacValid: true, MacAlgorithm: request.MacAlgorithm };
  },
});
