/** `Decrypt`: what `Encrypt`, `GenerateDataKey` and `ReEncrypt` made. */

import { decrypt as decryptWithKey } from '../../keys/use/encryption.ts';
import { encryptionAlgorithm } from '../declaration/enumerations.ts';
import {
  algorithmNamedBy,
  ciphertextBlob,
  dryRun,
  dryRunModifiers,
  encryptionConditions,
  encryptionContext,
  grantTokens,
  keyReference,
  recipient,
  refuseRecipient,
} from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { blob, object, optional, secretBlob, string } from '../declaration/schema.ts';
import { cipherOf, ciphertextOf, ignoresCiphertext, keyOfCiphertext } from './ciphertext-request.ts';

export const decrypt = operation({
  name: 'Decrypt',
  request: object({
    CiphertextBlob: optional(ciphertextBlob),
    EncryptionContext: encryptionContext,
    GrantTokens: grantTokens,
    KeyId: optional(keyReference),
    EncryptionAlgorithm: optional(encryptionAlgorithm),
    Recipient: recipient,
    DryRun: dryRun,
    DryRunModifiers: dryRunModifiers,
  }),
  response: object({
    KeyId: optional(string()),
    Plaintext: optional(secretBlob()),
    EncryptionAlgorithm: optional(encryptionAlgorithm),
    CiphertextForRecipient: optional(blob()),
    KeyMaterialId: optional(string()),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:Decrypt',
        key: keyOfCiphertext('KeyId', 'EncryptionAlgorithm'),
        states: 'use',
        orByCiphertext: 'KeyId',
        grant: 'Decrypt',
        conditions: encryptionConditions,
        usage: 'ENCRYPT_DECRYPT',
        algorithm: algorithmNamedBy('EncryptionAlgorithm'),
      },
    },
  },
  effect: 'uses',
  record: ['KeyId', 'EncryptionContext', 'EncryptionAlgorithm', 'DryRun', 'DryRunModifiers'],
  async rehearse({ request, keys }) {
    refuseRecipient(request);
    if (ignoresCiphertext(request)) return;
    const { plaintext } = await decryptWithKey(keys.key, cipherOf(request), ciphertextOf(request));
    plaintext.wipe();
  },
  async handle({ request, keys }) {
    refuseRecipient(request);
    const decrypted = await decryptWithKey(keys.key, cipherOf(request), ciphertextOf(request));
    return {
      KeyId: keys.key.key.arn,
      Plaintext: decrypted.plaintext,
      EncryptionAlgorithm: decrypted.algorithm,
      KeyMaterialId: decrypted.keyMaterialId,
    };
  },
});
