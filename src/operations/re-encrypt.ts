/** `ReEncrypt`: from one KMS key or encryption context to another, without the caller seeing the plaintext. */

import { decrypt, encrypt } from '../keys/symmetric-encryption.ts';
import { blobOf, ignoresCiphertext, keyOfCiphertext } from './ciphertext-request.ts';
import {
  algorithmNamedBy,
  ciphertextBlob,
  dryRun,
  dryRunModifiers,
  encryptionAlgorithm,
  encryptionConditions,
  encryptionContext,
  grantTokens,
  keyNamedBy,
  keyReference,
} from './members.ts';
import { operation } from './operation.ts';
import { object, optional, string } from './schema.ts';

const conditions = [...encryptionConditions, 'kms:ReEncryptOnSameKey'] as const;

export const reEncrypt = operation({
  name: 'ReEncrypt',
  request: object({
    CiphertextBlob: optional(ciphertextBlob),
    SourceEncryptionContext: encryptionContext,
    SourceKeyId: optional(keyReference),
    DestinationKeyId: keyReference,
    DestinationEncryptionContext: encryptionContext,
    SourceEncryptionAlgorithm: optional(encryptionAlgorithm),
    DestinationEncryptionAlgorithm: optional(encryptionAlgorithm),
    GrantTokens: grantTokens,
    DryRun: dryRun,
    DryRunModifiers: dryRunModifiers,
  }),
  response: object({
    CiphertextBlob: optional(ciphertextBlob),
    SourceKeyId: optional(string()),
    KeyId: optional(string()),
    SourceEncryptionAlgorithm: optional(encryptionAlgorithm),
    DestinationEncryptionAlgorithm: optional(encryptionAlgorithm),
    SourceKeyMaterialId: optional(string()),
    DestinationKeyMaterialId: optional(string()),
  }),
  needs: {
    keys: {
      source: {
        action: 'kms:ReEncryptFrom',
        key: keyOfCiphertext('SourceKeyId'),
        grant: 'ReEncryptFrom',
        conditions,
        usage: 'ENCRYPT_DECRYPT',
        algorithm: algorithmNamedBy('SourceEncryptionAlgorithm'),
      },
      destination: {
        action: 'kms:ReEncryptTo',
        key: keyNamedBy('DestinationKeyId', 'keyOrAlias'),
        grant: 'ReEncryptTo',
        conditions,
        usage: 'ENCRYPT_DECRYPT',
        algorithm: algorithmNamedBy('DestinationEncryptionAlgorithm'),
      },
    },
  },
  effect: 'uses',
  record: [
    'SourceKeyId',
    'DestinationKeyId',
    'SourceEncryptionContext',
    'DestinationEncryptionContext',
    'SourceEncryptionAlgorithm',
    'DestinationEncryptionAlgorithm',
    'DryRun',
    'DryRunModifiers',
  ],
  async rehearse({ request, keys }) {
    if (ignoresCiphertext(request)) return;
    const { plaintext } = await decrypt(keys.source, blobOf(request), request.SourceEncryptionContext);
    plaintext.wipe();
  },
  async handle({ request, keys, directory }) {
    const source = await decrypt(keys.source, blobOf(request), request.SourceEncryptionContext);
    try {
      const destination = await encrypt(
        directory,
        keys.destination,
        source.plaintext,
        request.DestinationEncryptionContext,
      );
      return {
        CiphertextBlob: destination.ciphertextBlob,
        SourceKeyId: keys.source.key.arn,
        KeyId: keys.destination.key.arn,
        SourceEncryptionAlgorithm: source.algorithm,
        DestinationEncryptionAlgorithm: destination.algorithm,
        SourceKeyMaterialId: source.keyMaterialId,
        DestinationKeyMaterialId: destination.keyMaterialId,
      };
    } finally {
      source.plaintext.wipe();
    }
  },
});
