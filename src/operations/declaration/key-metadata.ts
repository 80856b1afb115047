/** `KeyMetadata`: what `CreateKey` and `DescribeKey` tell of a KMS key. */

import { type CustomKeyStore, customKeyStoreIdOf } from '../../keys/custom-key-store.ts';
import { expiringMaterials, lacksMaterial } from '../../keys/imported-material.ts';
import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { isRotatedInAws } from '../../keys/life/rotation.ts';
import { multiRegionKeyType, soundRelatedKeys } from '../../keys/multi-region.ts';
import { type KeySpec, type KeyUsage, keySpecRow } from '../../kms/key-specs.ts';
import { type KeyState, keyStates } from '../../kms/key-states.ts';
import { type Account, isMultiRegion, type KeyArn } from '../../kms/names.ts';
import type { KeyRecord } from '../../store/records/records.ts';
import {
  encapsulationAlgorithm,
  encryptionAlgorithm,
  expirationModel,
  keyAgreementAlgorithm,
  keySpec,
  keyUsage,
  macAlgorithm,
  origin,
  signingAlgorithm,
} from './enumerations.ts';
import { boolean, enumeration, type Infer, integer, list, object, optional, string, timestamp } from './schema.ts';

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

/** Members about things that do not exist here yet (replicas, external key stores, …) are declared and stay absent. */
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
  ExpirationModel: optional(expirationModel),
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

/** What is told of a key beside its record. */
interface Described {
  readonly arn: KeyArn;
  readonly record: KeyRecord;
  readonly state: KeyState;
  /** Of the current one, where the key has any or had. */
  readonly keyMaterialId: string | undefined;
  /** The one that the key is in; absent of a key in the default key store. */
  readonly customKeyStore?: Partial<Pick<CustomKeyStore, 'customKeyStoreId' | 'cloudHsmClusterId'>> | undefined;
}

/** A key as it is now. */
export function describeNow(directory: KeyView, key: KmsKey): Infer<typeof keyMetadata> {
  const { arn, record, currentMaterial, currentBackingKey } = key;
  const keyMaterialId = currentBackingKey?.keyMaterialId ?? currentMaterial?.importedMaterialId;
  const id = customKeyStoreIdOf(key);
  const customKeyStore =
    id === undefined ? undefined : (directory.customKeyStores.find(id) ?? { customKeyStoreId: id });
  const described = { arn, record, state: stateNow(key), keyMaterialId, customKeyStore };
  return {
    ...describe(directory.realm, described),
    ...expirationOf(key),
    ...configurationOf(record, soundRelatedKeys(directory, record.keyId)),
  };
}

/** As AWS says it of keys in a custom key store that is away, one whose only HSM is away while others of its key store serve is unavailable. */
function stateNow({ state, currentBackingKey }: KmsKey): KeyState {
  if (currentBackingKey === undefined || !(state === 'Enabled' || state === 'Disabled')) return state;
  const { keyStore, reference } = currentBackingKey;
  return keyStore.isKeyAway(reference) ? 'Unavailable' : state;
}

/** The related keys of a multi-Region key, itself among them; nothing of any other. */
export function configurationOf(
  record: Pick<KeyRecord, 'keyId' | 'region' | 'primaryRegion'>,
  related: readonly { readonly arn: string; readonly record: Pick<KeyRecord, 'region'> }[],
): Pick<Infer<typeof keyMetadata>, 'MultiRegionConfiguration'> {
  const MultiRegionKeyType = multiRegionKeyType(record);
  if (MultiRegionKeyType === undefined) return {};
  const keys = related.map(({ arn, record: { region } }) => ({ Arn: arn, Region: region }));
  const PrimaryKey = keys.find(({ Region }) => Region === record.primaryRegion);
  const ReplicaKeys = keys.filter(({ Region }) => Region !== record.primaryRegion);
  return { MultiRegionConfiguration: { MultiRegionKeyType, PrimaryKey, ReplicaKeys } };
}

/** When imported material expires, the first of all that the key cannot do without. Nothing of a key that lacks any. */
function expirationOf(key: KmsKey): Pick<Infer<typeof keyMetadata>, 'ExpirationModel' | 'ValidTo'> {
  if (key.record.origin !== 'EXTERNAL' || key.state === 'PendingImport' || lacksMaterial(key)) return {};
  const dates = expiringMaterials(key).flatMap(({ validToMs }) => validToMs ?? []);
  if (dates.length === 0) return { ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' };
  return { ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo: new Date(Math.min(...dates)) };
}

export function describe(
  { account }: Account,
  { arn, record, state, keyMaterialId, customKeyStore }: Described,
): Infer<typeof keyMetadata> {
  const algorithms = keySpecRow(record.keySpec).usages[record.keyUsage] ?? [];
  return {
    AWSAccountId: account,
    KeyId: record.keyId,
    Arn: arn,
    CreationDate: new Date(record.createdAtMs),
    Enabled: state === 'Enabled',
    Description: record.description,
    KeyUsage: record.keyUsage,
    KeyState: state,
    DeletionDate: record.deletionDateMs === null ? undefined : new Date(record.deletionDateMs),
    Origin: record.origin,
    CustomKeyStoreId: customKeyStore?.customKeyStoreId,
    CloudHsmClusterId: customKeyStore?.cloudHsmClusterId,
    KeyManager: record.keyManager,
    CustomerMasterKeySpec: formerKeySpec(record.keySpec),
    KeySpec: record.keySpec,
    [algorithmsMember(record.keyUsage)]: algorithms,
    MultiRegion: isMultiRegion(record.keyId),
    PendingDeletionWindowInDays: record.deletionWindowDays ?? undefined,
    // Of keys that AWS rotates. Source: the SDK's comment at `KeyMetadata`, `CurrentKeyMaterialId`.
    CurrentKeyMaterialId: isRotatedInAws(record) ? keyMaterialId : undefined,
  };
}
