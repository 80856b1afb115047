/** `GenerateMac`: the HMAC of a message of up to 4,096 bytes, under an HMAC KMS key. */

import { generateMac as generateInHsm } from '../../keys/use/message-authentication.ts';
import { macAlgorithm } from '../declaration/enumerations.ts';
import { dryRun, grantTokens, keyNamedBy, keyReference, message } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { blob, object, optional, string } from '../declaration/schema.ts';

export const generateMac = operation({
  name: 'GenerateMac',
  request: object({
    Message: message,
    KeyId: keyReference,
    MacAlgorithm: macAlgorithm,
    GrantTokens: grantTokens,
    DryRun: dryRun,
  }),
  response: object({
    Mac: optional(blob()),
    MacAlgorithm: optional(macAlgorithm),
    KeyId: optional(string()),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:GenerateMac',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'GenerateMac',
        conditions: ['kms:MacAlgorithm'],
        usage: 'GENERATE_VERIFY_MAC',
        algorithm: ({ MacAlgorithm }) => MacAlgorithm,
      },
    },
  },
  effect: 'uses',
  record: ['KeyId', 'MacAlgorithm', 'DryRun'],
  async handle({ request, keys }) {
    const mac = await generateInHsm(keys.key, request.MacAlgorithm, request.Message);
    return { Mac: mac, MacAlgorithm: request.MacAlgorithm, KeyId: keys.key.key.arn };
  },
});
