/** `GenerateDataKeyWithoutPlaintext`: a data key for later; its plaintext never leaves the HSM host. */

import { generateDataKeyWithoutPlaintext as generateSymmetric } from '../../keys/use/symmetric-encryption.ts';
import { dataKeySpec } from '../declaration/enumerations.ts';
import {
  ciphertextBlob,
  dataKeyBytes,
  dryRun,
  encryptionConditions,
  encryptionContext,
  grantTokens,
  keyNamedBy,
  keyReference,
} from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object, optional, string } from '../declaration/schema.ts';
import { dataKeyLengthBytes } from './data-key-length.ts';

export const generateDataKeyWithoutPlaintext = operation({
  name: 'GenerateDataKeyWithoutPlaintext',
  request: object({
    KeyId: keyReference,
    EncryptionContext: encryptionContext,
    KeySpec: optional(dataKeySpec),
    NumberOfBytes: optional(dataKeyBytes),
    GrantTokens: grantTokens,
    DryRun: dryRun,
  }),
  response: object({
    CiphertextBlob: optional(ciphertextBlob),
    KeyId: optional(string()),
    KeyMaterialId: optional(string()),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:GenerateDataKeyWithoutPlaintext',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'GenerateDataKeyWithoutPlaintext',
        conditions: encryptionConditions,
        usage: 'ENCRYPT_DECRYPT',
        algorithm: () => 'SYMMETRIC_DEFAULT',
      },
    },
  },
  effect: 'uses',
  record: ['KeyId', 'EncryptionContext', 'KeySpec', 'NumberOfBytes', 'DryRun'],
  async rehearse({ request }) {
    dataKeyLengthBytes(request);
  },
  async handle({ request, keys, life }) {
    const lengthBytes = dataKeyLengthBytes(request);
    const dataKey = await generateSymmetric(life, keys.key, lengthBytes, request.EncryptionContext);
    return { CiphertextBlob: dataKey.ciphertextBlob, KeyId: keys.key.key.arn, KeyMaterialId: dataKey.keyMaterialId };
  },
});
