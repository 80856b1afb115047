/** `GetPublicKey`: the public half of an asymmetric KMS key, and what it may be used for. */

import { publicKeyInfo } from '../../keys/use/public-keys.ts';
import { KmsError } from '../../kms/errors.ts';
import { keySpecRow } from '../../kms/key-specs.ts';
import {
  encapsulationAlgorithm,
  encryptionAlgorithm,
  keyAgreementAlgorithm,
  keySpec,
  keyUsage,
  signingAlgorithm,
} from '../declaration/enumerations.ts';
import { algorithmsMember, customerMasterKeySpec, formerKeySpec } from '../declaration/key-metadata.ts';
import { grantTokens, keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { blob, list, object, optional, string } from '../declaration/schema.ts';

export const getPublicKey = operation({
  name: 'GetPublicKey',
  request: object({ KeyId: keyReference, GrantTokens: grantTokens }),
  response: object({
    KeyId: optional(string()),
    PublicKey: optional(blob()),
    CustomerMasterKeySpec: optional(customerMasterKeySpec),
    KeySpec: optional(keySpec),
    KeyUsage: optional(keyUsage),
    EncryptionAlgorithms: optional(list(encryptionAlgorithm)),
    SigningAlgorithms: optional(list(signingAlgorithm)),
    KeyAgreementAlgorithms: optional(list(keyAgreementAlgorithm)),
    EncapsulationAlgorithms: optional(list(encapsulationAlgorithm)),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:GetPublicKey',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        states: 'use',
        grant: 'GetPublicKey',
      },
    },
  },
  effect: 'reads',
  record: ['KeyId'],
  async handle({ keys }) {
    const { key } = keys.key;
    const { record, arn } = key;
    const row = keySpecRow(record.keySpec);
    if (!row.isKeyPair) {
      throw new KmsError('UnsupportedOperationException', `${arn} is not an asymmetric key: it has no public key.`);
    }
    return {
      KeyId: arn,
      PublicKey: publicKeyInfo(keys.key),
      CustomerMasterKeySpec: formerKeySpec(record.keySpec),
      KeySpec: record.keySpec,
      KeyUsage: record.keyUsage,
      [algorithmsMember(record.keyUsage)]: row.usages[record.keyUsage],
    };
  },
});
