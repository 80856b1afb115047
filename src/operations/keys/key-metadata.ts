/** `KeyMetadata`: what `CreateKey` and `DescribeKey` tell of a KMS key. */

import type { KmsKey } from '../../keys/kms-key.ts';
import { type KeySpec, type KeyUsage, keySpecRow } from '../../kms/key-specs.ts';
import { keyStates } from '../../kms/key-states.ts';
import { type Account, isMultiRegion } from '../../kms/names.ts';
import {
  encapsulationAlgorithm,
  encryptionAlgorithm,
  keyAgreementAlgorithm,
  keySpec,
  keyUsage,
  macAlgorithm,
  origin,
  signingAlgorithm,
} from '../declaration/enumerations.ts';
import {
  boolean,
  enumeration,
  type Infer,
  integer,
  list,
  object,
  optional,
  string,
  timestamp,
} from '../declaration/schema.ts';

/** The specs that the deprecated `CustomerMasterKeySpec` can name; it was not given the later ones. */
const formerKeySpecs = [
  'RSA_2048',
  'RSA_3072',
  'RSA_4096',
  'ECC_NIST_P256',
  'ECC_NIST_P384',
  'ECC_NIST_P521',
  'ECC_SECG_P256K1',
  'SYMMETRIC_DEFAULT',
  'HMAC_224',
  'HMAC_256',
  'HMAC_384',
  'HMAC_512',
  'SM2',
] as const;
export const customerMasterKeySpec = enumeration(formerKeySpecs);
const keyState = enumeration(keyStates);
const multiRegionKey = object({ Arn: optional(string()), Region: optional(string()) });

/** Members about things that do not exist here yet (import, replicas, custom key stores, …) are declared and stay absent. */
export const keyMetadata = object({
  AWSAccountId: optional(string()),
  KeyId: string(),
  Arn: optional(string()),
  CreationDate: optional(timestamp),
  Enabled: optional(boolean),
  Description: optional(string()),
  KeyUsage: optional(keyUsage),
  KeyState: optional(keyState),
  DeletionDate: optional(timestamp),
  ValidTo: optional(timestamp),
  Origin: optional(origin),
  CustomKeyStoreId: optional(string()),
  CloudHsmClusterId: optional(string()),
  ExpirationModel: optional(enumeration(['KEY_MATERIAL_EXPIRES', 'KEY_MATERIAL_DOES_NOT_EXPIRE'])),
  KeyManager: optional(enumeration(['AWS', 'CUSTOMER'])),
  CustomerMasterKeySpec: optional(customerMasterKeySpec),
  KeySpec: optional(keySpec),
  EncryptionAlgorithms: optional(list(encryptionAlgorithm)),
  SigningAlgorithms: optional(list(signingAlgorithm)),
  KeyAgreementAlgorithms: optional(list(keyAgreementAlgorithm)),
  EncapsulationAlgorithms: optional(list(encapsulationAlgorithm)),
  MultiRegion: optional(boolean),
  MultiRegionConfiguration: optional(
    object({
      MultiRegionKeyType: optional(enumeration(['PRIMARY', 'REPLICA'])),
      PrimaryKey: optional(multiRegionKey),
      ReplicaKeys: optional(list(multiRegionKey)),
    }),
  ),
  PendingDeletionWindowInDays: optional(integer()),
  MacAlgorithms: optional(list(macAlgorithm)),
  XksKeyConfiguration: optional(object({ Id: optional(string()) })),
  CurrentKeyMaterialId: optional(string()),
});

/** Which member lists a key's algorithms depends on its usage. */
const algorithmsMembers = {
  ENCRYPT_DECRYPT: 'EncryptionAlgorithms',
  SIGN_VERIFY: 'SigningAlgorithms',
  GENERATE_VERIFY_MAC: 'MacAlgorithms',
  KEY_AGREEMENT: 'KeyAgreementAlgorithms',
  ENCAPSULATE_DECAPSULATE: 'EncapsulationAlgorithms',
} as const satisfies Record<KeyUsage, string>;

/** The member that lists what a key of this usage can do, here and in `GetPublicKey`. */
export function algorithmsMember<Usage extends KeyUsage>(usage: Usage): (typeof algorithmsMembers)[Usage] {
  return algorithmsMembers[usage];
}

/** The spec as the deprecated `CustomerMasterKeySpec` has it, if it has it. */
export function formerKeySpec(spec: KeySpec): (typeof formerKeySpecs)[number] | undefined {
  return formerKeySpecs.find((name) => name === spec);
}

/** @param material The current one, where the key has any. */
export function describe(
  { account }: Account,
  { arn, record }: Pick<KmsKey, 'arn' | 'record'>,
  material: { readonly keyMaterialId: string } | undefined,
): Infer<typeof keyMetadata> {
  const algorithms = keySpecRow(record.keySpec).usages[record.keyUsage] ?? [];
  return {
    AWSAccountId: account,
    KeyId: record.keyId,
    Arn: arn,
    CreationDate: new Date(record.createdAtMs),
    Enabled: record.state === 'Enabled',
    Description: record.description,
    KeyUsage: record.keyUsage,
    KeyState: record.state,
    DeletionDate: record.deletionDateMs === null ? undefined : new Date(record.deletionDateMs),
    Origin: record.origin,
    KeyManager: record.keyManager,
    CustomerMasterKeySpec: formerKeySpec(record.keySpec),
    KeySpec: record.keySpec,
    [algorithmsMember(record.keyUsage)]: algorithms,
    MultiRegion: isMultiRegion(record.keyId),
    // Keys of the other kinds have one key material for ever, and AWS does not name it.
    CurrentKeyMaterialId: record.keySpec === 'SYMMETRIC_DEFAULT' ? material?.keyMaterialId : undefined,
  };
}
