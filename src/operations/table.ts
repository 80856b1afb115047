/**
 * The operations of AWS KMS: those that are built, and the names of those that are not yet.
 *
 * The one list from which routing, auditing and the documentation are drawn. Together the two parts are exactly the
 * operations of the AWS SDK (`test/operations/sdk.test-d.ts`), so that a caller of a known operation hears
 * `UnsupportedOperationException` and one of an invented operation `UnknownOperationException`.
 */

import { createAlias } from './create-alias.ts';
import { createKey } from './create-key.ts';
import { decrypt } from './decrypt.ts';
import { deleteAlias } from './delete-alias.ts';
import { describeKey } from './describe-key.ts';
import { encrypt } from './encrypt.ts';
import { generateDataKey } from './generate-data-key.ts';
import { generateDataKeyWithoutPlaintext } from './generate-data-key-without-plaintext.ts';
import { generateRandom } from './generate-random.ts';
import { getKeyPolicy } from './get-key-policy.ts';
import { listAliases } from './list-aliases.ts';
import { listKeyPolicies } from './list-key-policies.ts';
import { listKeys } from './list-keys.ts';
import type { AnyOperation } from './operation.ts';
import { putKeyPolicy } from './put-key-policy.ts';
import { reEncrypt } from './re-encrypt.ts';
import { updateAlias } from './update-alias.ts';

/** By name. The types of each stand in its own file; the SDK's type test needs them, the pipeline does not. */
export const operations = {
  CreateAlias: createAlias,
  CreateKey: createKey,
  Decrypt: decrypt,
  DeleteAlias: deleteAlias,
  DescribeKey: describeKey,
  Encrypt: encrypt,
  GenerateDataKey: generateDataKey,
  GenerateDataKeyWithoutPlaintext: generateDataKeyWithoutPlaintext,
  GenerateRandom: generateRandom,
  GetKeyPolicy: getKeyPolicy,
  ListAliases: listAliases,
  ListKeyPolicies: listKeyPolicies,
  ListKeys: listKeys,
  PutKeyPolicy: putKeyPolicy,
  ReEncrypt: reEncrypt,
  UpdateAlias: updateAlias,
} as const;

/** What AWS KMS has and this version has not. */
export const unbuiltOperations = [
  'CancelKeyDeletion',
  'ConnectCustomKeyStore',
  'CreateCustomKeyStore',
  'CreateGrant',
  'Decapsulate',
  'DeleteCustomKeyStore',
  'DeleteImportedKeyMaterial',
  'DeriveSharedSecret',
  'DescribeCustomKeyStores',
  'DisableKey',
  'DisableKeyRotation',
  'DisconnectCustomKeyStore',
  'EnableKey',
  'EnableKeyRotation',
  'Encapsulate',
  'GenerateDataKeyPair',
  'GenerateDataKeyPairWithoutPlaintext',
  'GenerateMac',
  'GetKeyLastUsage',
  'GetKeyRotationStatus',
  'GetParametersForImport',
  'GetPublicKey',
  'ImportKeyMaterial',
  'ListGrants',
  'ListKeyRotations',
  'ListResourceTags',
  'ListRetirableGrants',
  'ReplicateKey',
  'RetireGrant',
  'RevokeGrant',
  'RotateKeyOnDemand',
  'ScheduleKeyDeletion',
  'Sign',
  'TagResource',
  'UntagResource',
  'UpdateCustomKeyStore',
  'UpdateKeyDescription',
  'UpdatePrimaryRegion',
  'Verify',
  'VerifyMac',
] as const;

const byName: ReadonlyMap<string, AnyOperation> = new Map(
  // Safe: the pipeline gives each operation only what the operation's own schemas and needs made.
  Object.entries(operations as unknown as Readonly<Record<string, AnyOperation>>),
);
const unbuilt: ReadonlySet<string> = new Set(unbuiltOperations);

export function findOperation(name: string): AnyOperation | undefined {
  return byName.get(name);
}

/** Is this an operation of AWS KMS that is not built yet? */
export function isUnbuilt(name: string): boolean {
  return unbuilt.has(name);
}
