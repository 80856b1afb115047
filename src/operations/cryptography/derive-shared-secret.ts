/** `DeriveSharedSecret`: the raw ECDH secret between the private half of a KMS key and a peer's public key. */

import { deriveSharedSecret as deriveInHsm } from '../../keys/use/key-agreement.ts';
import { keyAgreementAlgorithm, origin } from '../declaration/enumerations.ts';
import { dryRun, grantTokens, keyNamedBy, keyReference, recipient, refuseRecipient } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { blob, object, optional, secretBlob, string } from '../declaration/schema.ts';

export const deriveSharedSecret = operation({
  name: 'DeriveSharedSecret',
  request: object({
    KeyId: keyReference,
    KeyAgreementAlgorithm: keyAgreementAlgorithm,
    PublicKey: blob({ min: 1, max: 8192 }),
    GrantTokens: grantTokens,
    DryRun: dryRun,
    Recipient: recipient,
  }),
  response: object({
    KeyId: optional(string()),
    SharedSecret: optional(secretBlob()),
    CiphertextForRecipient: optional(blob()),
    KeyAgreementAlgorithm: optional(keyAgreementAlgorithm),
    KeyOrigin: optional(origin),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:DeriveSharedSecret',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'DeriveSharedSecret',
        conditions: ['kms:KeyAgreementAlgorithm'],
        usage: 'KEY_AGREEMENT',
        algorithm: ({ KeyAgreementAlgorithm }) => KeyAgreementAlgorithm,
      },
    },
  },
  effect: 'uses',
  record: ['KeyId', 'KeyAgreementAlgorithm', 'DryRun'],
  async rehearse({ request, keys }) {
    refuseRecipient(request);
    (await deriveInHsm(keys.key, request.PublicKey)).wipe();
  },
  async handle({ request, keys }) {
    refuseRecipient(request);
    const { key } = keys;
    return {
      SharedSecret: await deriveInHsm(key, request.PublicKey),
      KeyId: key.key.arn,
      KeyAgreementAlgorithm: request.KeyAgreementAlgorithm,
      KeyOrigin: key.key.record.origin,
    };
  },
});
