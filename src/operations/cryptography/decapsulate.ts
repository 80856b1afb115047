/** `Decapsulate`: the shared secret out of its encapsulated form, with the private half of an ML-KEM KMS key. */

import { decapsulate as decapsulateSecret } from '../../keys/use/key-encapsulation.ts';
import { encapsulationAlgorithm } from '../declaration/enumerations.ts';
import { ciphertextBlob, dryRun, grantTokens, keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object, optional, secretBlob, string } from '../declaration/schema.ts';

export const decapsulate = operation({
  name: 'Decapsulate',
  request: object({
    KeyId: keyReference,
    SharedSecretCiphertextBlob: ciphertextBlob,
    EncapsulationAlgorithm: encapsulationAlgorithm,
    GrantTokens: grantTokens,
    DryRun: dryRun,
  }),
  response: object({
    KeyId: optional(string()),
    SharedSecret: optional(secretBlob()),
    EncapsulationAlgorithm: optional(encapsulationAlgorithm),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:Decapsulate',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'Decapsulate',
        conditions: ['kms:EncapsulationAlgorithm'],
        usage: 'ENCAPSULATE_DECAPSULATE',
        algorithm: ({ EncapsulationAlgorithm }) => EncapsulationAlgorithm,
      },
    },
  },
  effect: 'uses',
  record: ['KeyId', 'EncapsulationAlgorithm', 'DryRun'],
  async rehearse({ keys }) {
    decapsulateSecret(keys.key);
  },
  async handle({ keys }) {
    return decapsulateSecret(keys.key);
  },
});
