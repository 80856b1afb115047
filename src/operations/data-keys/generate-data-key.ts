/** `GenerateDataKey`: a data key from the HSM's random generator, in plaintext and encrypted under a KMS key. */

import { generateDataKey as generateSymmetric } from '../../keys/use/symmetric-encryption.ts';
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
  recipient,
  refuseRecipient,
} from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { blob, object, optional, secretBlob, string } from '../declaration/schema.ts';
import { dataKeyLengthBytes } from './data-key-length.ts';

export const generateDataKey = operation({
  name: 'GenerateDataKey',
  request: object({
    KeyId: keyReference,
    EncryptionContext: encryptionContext,
    NumberOfBytes: optional(dataKeyBytes),
    KeySpec: optional(dataKeySpec),
    GrantTokens: grantTokens,
    Recipient: recipient,
    DryRun: dryRun,
  }),
  response: object({
    CiphertextBlob: optional(ciphertextBlob),
    Plaintext: optional(secretBlob()),
    KeyId: optional(string()),
    CiphertextForRecipient: optional(blob()),
    KeyMaterialId: optional(string()),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:GenerateDataKey',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'GenerateDataKey',
        conditions: encryptionConditions,
        usage: 'ENCRYPT_DECRYPT',
        algorithm: () => 'SYMMETRIC_DEFAULT',
      },
    },
  },
  effect: 'uses',
  record: ['KeyId', 'EncryptionContext', 'NumberOfBytes', 'KeySpec', 'DryRun'],
  async rehearse({ request }) {
    refuseRecipient(request);
    dataKeyLengthBytes(request);
  },
  async handle({ request, keys, life }) {
    refuseRecipient(request);
    const lengthBytes = dataKeyLengthBytes(request);
    const dataKey = await generateSymmetric(life, keys.key, lengthBytes, request.EncryptionContext);
    return {
      CiphertextBlob: dataKey.ciphertextBlob,
      Plaintext: dataKey.plaintext,
      KeyId: keys.key.key.arn,
      KeyMaterialId: dataKey.keyMaterialId,
    };
  },
});
