/** `Encapsulate`: a shared secret and its encapsulated form, with the public half of an ML-KEM KMS key. */

import { encapsulate as encapsulateSecret } from '../../keys/use/key-encapsulation.ts';
import { encapsulationAlgorithm } from '../declaration/enumerations.ts';
import { ciphertextBlob, dryRun, grantTokens, keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object, optional, secretBlob, string } from '../declaration/schema.ts';

export const encapsulate = operation({
  name: 'Encapsulate',
  request: object({
    KeyId: keyReference,
    EncapsulationAlgorithm: encapsulationAlgorithm,
    GrantTokens: grantTokens,
    DryRun: dryRun,
  }),
  response: object({
    KeyId: optional(string()),
    SharedSecret: optional(secretBlob()),
    SharedSecretCiphertextBlob: optional(ciphertextBlob),
    EncapsulationAlgorithm: optional(encapsulationAlgorithm),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:Encapsulate',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'Encapsulate',
        conditions: ['kms:EncapsulationAlgorithm'],
        usage: 'ENCAPSULATE_DECAPSULATE',
        algorithm: ({ EncapsulationAlgorithm }) => EncapsulationAlgorithm,
      },
    },
  },
  effect: 'uses',
  record: ['KeyId', 'EncapsulationAlgorithm', 'DryRun'],
  async rehearse({ keys }) {
    encapsulateSecret(keys.key);
  },
  async handle({ keys }) {
    return encapsulateSecret(keys.key);
  },
});
