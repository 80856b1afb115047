/** What `GenerateDataKeyPair` and `GenerateDataKeyPairWithoutPlaintext` share. */

import type { AuthorizedKey } from '../../keys/authorized-key.ts';
import { makesDataKeyPairs } from '../../keys/custom-key-store.ts';
import type { KeyView } from '../../keys/key-view.ts';
import { assertTokenCanGenerate } from '../../keys/token-capabilities.ts';
import { KmsError } from '../../kms/errors.ts';
import { encryptionConditions } from '../declaration/members.ts';
import type { Infer } from '../declaration/schema.ts';
import { enumeration } from '../declaration/schema.ts';

export const dataKeyPairSpec = enumeration([
  'RSA_2048',
  'RSA_3072',
  'RSA_4096',
  'ECC_NIST_P256',
  'ECC_NIST_P384',
  'ECC_NIST_P521',
  'ECC_SECG_P256K1',
  'SM2',
  'ECC_NIST_EDWARDS25519',
  'ML_KEM_512',
  'ML_KEM_768',
  'ML_KEM_1024',
]);

export const dataKeyPairConditions = [...encryptionConditions, 'kms:DataKeyPairSpec'] as const;

/**
 * @throws KmsError `UnsupportedOperationException` where the token cannot generate such a pair, and, as in AWS, for a key in a custom
 * key store; not for one in a key store that takes keys of all kinds.
 */
export function assertPairsCanBeGenerated(
  { key, material }: AuthorizedKey,
  spec: Infer<typeof dataKeyPairSpec>,
  directory: KeyView,
): void {
  if (!makesDataKeyPairs(key, directory.customKeyStores)) {
    const { origin } = key.record;
    throw new KmsError(
      'UnsupportedOperationException',
      `${key.arn} origin is ${origin} which is not valid for this operation.`,
    );
  }
  assertTokenCanGenerate(material.keyStore, spec);
}
