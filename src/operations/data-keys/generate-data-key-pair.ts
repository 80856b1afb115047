/** `GenerateDataKeyPair`: a key pair from the HSM for use elsewhere, its private half in plaintext and encrypted under a KMS key. */

import { generateDataKeyPair as generateInHsm } from '../../keys/use/symmetric-encryption.ts';
import {
  ciphertextBlob,
  dryRun,
  encryptionContext,
  grantTokens,
  keyNamedBy,
  keyReference,
  recipient,
  refuseRecipient,
} from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { blob, object, optional, secretBlob, string } from '../declaration/schema.ts';
import { assertPairsCanBeGenerated, dataKeyPairConditions, dataKeyPairSpec } from './data-key-pair-request.ts';

export const generateDataKeyPair = operation({
  name: 'GenerateDataKeyPair',
  request: object({
    EncryptionContext: encryptionContext,
    KeyId: keyReference,
    KeyPairSpec: dataKeyPairSpec,
    GrantTokens: grantTokens,
    Recipient: recipient,
    DryRun: dryRun,
  }),
  response: object({
    PrivateKeyCiphertextBlob: optional(ciphertextBlob),
    PrivateKeyPlaintext: optional(secretBlob()),
    PublicKey: optional(blob()),
    KeyId: optional(string()),
    KeyPairSpec: optional(dataKeyPairSpec),
    CiphertextForRecipient: optional(blob()),
    KeyMaterialId: optional(string()),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:GenerateDataKeyPair',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'GenerateDataKeyPair',
        conditions: dataKeyPairConditions,
        usage: 'ENCRYPT_DECRYPT',
        algorithm: () => 'SYMMETRIC_DEFAULT',
      },
    },
  },
  effect: 'uses',
  generates: true,
  record: ['KeyId', 'EncryptionContext', 'KeyPairSpec', 'DryRun'],
  async rehearse({ request, keys, directory }) {
    refuseRecipient(request);
    assertPairsCanBeGenerated(keys.key, request.KeyPairSpec, directory);
  },
  async handle({ request, keys, directory, life }) {
    refuseRecipient(request);
    assertPairsCanBeGenerated(keys.key, request.KeyPairSpec, directory);
    const wanted = { keyPairSpec: request.KeyPairSpec, withPlaintext: true };
    const pair = await generateInHsm(life, keys.key, wanted, request.EncryptionContext);
    return {
      PrivateKeyCiphertextBlob: pair.ciphertextBlob,
      PrivateKeyPlaintext: pair.plaintext ?? undefined,
      PublicKey: pair.publicKey,
      KeyId: keys.key.key.arn,
      KeyPairSpec: request.KeyPairSpec,
      KeyMaterialId: pair.keyMaterialId,
    };
  },
});
