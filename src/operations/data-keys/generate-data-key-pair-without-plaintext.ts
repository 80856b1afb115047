/** `GenerateDataKeyPairWithoutPlaintext`: a key pair for later; its private half in the clear never leaves the HSM's host. */

import { generateDataKeyPair as generateInHsm } from '../../keys/use/symmetric-encryption.ts';
import {
  ciphertextBlob,
  dryRun,
  encryptionContext,
  grantTokens,
  keyNamedBy,
  keyReference,
} from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { blob, object, optional, string } from '../declaration/schema.ts';
import { assertPairsCanBeGenerated, dataKeyPairConditions, dataKeyPairSpec } from './data-key-pair-request.ts';

export const generateDataKeyPairWithoutPlaintext = operation({
  name: 'GenerateDataKeyPairWithoutPlaintext',
  request: object({
    EncryptionContext: encryptionContext,
    KeyId: keyReference,
    KeyPairSpec: dataKeyPairSpec,
    GrantTokens: grantTokens,
    DryRun: dryRun,
  }),
  response: object({
    PrivateKeyCiphertextBlob: optional(ciphertextBlob),
    PublicKey: optional(blob()),
    KeyId: optional(string()),
    KeyPairSpec: optional(dataKeyPairSpec),
    KeyMaterialId: optional(string()),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:GenerateDataKeyPairWithoutPlaintext',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'GenerateDataKeyPairWithoutPlaintext',
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
    assertPairsCanBeGenerated(keys.key, request.KeyPairSpec, directory);
  },
  async handle({ request, keys, directory, life }) {
    assertPairsCanBeGenerated(keys.key, request.KeyPairSpec, directory);
    const wanted = { keyPairSpec: request.KeyPairSpec, withPlaintext: false };
    const pair = await generateInHsm(life, keys.key, wanted, request.EncryptionContext);
    return {
      PrivateKeyCiphertextBlob: pair.ciphertextBlob,
      PublicKey: pair.publicKey,
      KeyId: keys.key.key.arn,
      KeyPairSpec: request.KeyPairSpec,
      KeyMaterialId: pair.keyMaterialId,
    };
  },
});
