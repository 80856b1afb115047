/** `Encrypt`: up to 4,096 bytes under a KMS key. */

import { assertCanEncrypt, encrypt as encryptWithKey } from '../../keys/use/encryption.ts';
import { encryptionAlgorithm } from '../declaration/enumerations.ts';
import {
  algorithmNamedBy,
  ciphertextBlob,
  dryRun,
  encryptionConditions,
  encryptionContext,
  grantTokens,
  keyNamedBy,
  keyReference,
} from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object, optional, secretBlob, string } from '../declaration/schema.ts';
import { cipherOf } from './ciphertext-request.ts';

export const encrypt = operation({
  name: 'Encrypt',
  request: object({
    KeyId: keyReference,
    Plaintext: secretBlob({ min: 1, max: 4096 }),
    EncryptionContext: encryptionContext,
    GrantTokens: grantTokens,
    EncryptionAlgorithm: optional(encryptionAlgorithm),
    DryRun: dryRun,
  }),
  response: object({
    CiphertextBlob: optional(ciphertextBlob),
    KeyId: optional(string()),
    EncryptionAlgorithm: optional(encryptionAlgorithm),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:Encrypt',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'Encrypt',
        conditions: encryptionConditions,
        usage: 'ENCRYPT_DECRYPT',
        algorithm: algorithmNamedBy('EncryptionAlgorithm'),
      },
    },
  },
  effect: 'uses',
  record: ['KeyId', 'EncryptionContext', 'EncryptionAlgorithm', 'DryRun'],
  async rehearse({ request, keys }) {
    assertCanEncrypt(keys.key, cipherOf(request), request.Plaintext);
  },
  async handle({ request, keys, life }) {
    const encrypted = await encryptWithKey(life, keys.key, cipherOf(request), request.Plaintext);
    return {
      CiphertextBlob: encrypted.ciphertextBlob,
      KeyId: keys.key.key.arn,
      EncryptionAlgorithm: encrypted.algorithm,
    };
  },
});
