/** `ReEncrypt`: from one KMS key or encryption context to another, without the caller seeing the plaintext. */

import { assertCanEncrypt, type Cipher, decrypt, encrypt } from '../../keys/use/encryption.ts';
import { encryptionAlgorithm } from '../declaration/enumerations.ts';
import {
  algorithmNamedBy,
  ciphertextBlob,
  dryRun,
  dryRunModifiers,
  encryptionConditions,
  encryptionContext,
  grantTokens,
  keyNamedBy,
  keyReference,
} from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { type Infer, object, optional, string } from '../declaration/schema.ts';
import { ciphertextOf, ignoresCiphertext, keyOfCiphertext } from './ciphertext-request.ts';

const request = object({
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
});
type Request = Infer<typeof request>;

const conditions = [...encryptionConditions, 'kms:ReEncryptOnSameKey'] as const;

export const reEncrypt = operation({
  name: 'ReEncrypt',
  request,
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
        key: keyOfCiphertext('SourceKeyId', 'SourceEncryptionAlgorithm'),
        states: 'use',
        orByCiphertext: 'SourceKeyId',
        grant: 'ReEncryptFrom',
        conditions,
        usage: 'ENCRYPT_DECRYPT',
        algorithm: algorithmNamedBy('SourceEncryptionAlgorithm'),
      },
      destination: {
        action: 'kms:ReEncryptTo',
        key: keyNamedBy('DestinationKeyId', 'keyOrAlias'),
        states: 'use',
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
    const { plaintext } = await decrypt(keys.source, sourceCipher(request), ciphertextOf(request));
    try {
      assertCanEncrypt(keys.destination, destinationCipher(request), plaintext);
    } finally {
      plaintext.wipe();
    }
  },
  async handle({ request, keys, life }) {
    const source = await decrypt(keys.source, sourceCipher(request), ciphertextOf(request));
    try {
      const destination = await encrypt(life, keys.destination, destinationCipher(request), source.plaintext);
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

function sourceCipher(asked: Request): Cipher {
  return { algorithm: asked.SourceEncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT', context: asked.SourceEncryptionContext };
}

function destinationCipher(asked: Request): Cipher {
  return {
    algorithm: asked.DestinationEncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT',
    context: asked.DestinationEncryptionContext,
  };
}
