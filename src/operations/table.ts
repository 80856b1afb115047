/**
 * The operations of AWS KMS: those that are built, and the names of those that are not yet.
 *
 * The one list from which routing, auditing and the documentation are drawn. Together the two parts are exactly the
 * operations of the AWS SDK (`test/operations/sdk.test-d.ts`), so that a caller of a known operation hears
 * `UnsupportedOperationException` and one of an invented operation `UnknownOperationException`.
 */

import { createAlias } from './create-alias.ts';
import { createGrant } from './create-grant.ts';
import { createKey } from './create-key.ts';
import { decapsulate } from './decapsulate.ts';
import { decrypt } from './decrypt.ts';
import { deleteAlias } from './delete-alias.ts';
import { deriveSharedSecret } from './derive-shared-secret.ts';
import { describeKey } from './describe-key.ts';
import { encapsulate } from './encapsulate.ts';
import { encrypt } from './encrypt.ts';
import { generateDataKey } from './generate-data-key.ts';
import { generateDataKeyPair } from './generate-data-key-pair.ts';
import { generateDataKeyPairWithoutPlaintext } from './generate-data-key-pair-without-plaintext.ts';
import { generateDataKeyWithoutPlaintext } from './generate-data-key-without-plaintext.ts';
import { generateMac } from './generate-mac.ts';
import { generateRandom } from './generate-random.ts';
import { getKeyPolicy } from './get-key-policy.ts';
import { getPublicKey } from './get-public-key.ts';
import { listAliases } from './list-aliases.ts';
import { listGrants } from './list-grants.ts';
import { listKeyPolicies } from './list-key-policies.ts';
import { listKeys } from './list-keys.ts';
import { listRetirableGrants } from './list-retirable-grants.ts';
import type { AnyOperation } from './operation.ts';
import { putKeyPolicy } from './put-key-policy.ts';
import { reEncrypt } from './re-encrypt.ts';
import { retireGrant } from './retire-grant.ts';
import { revokeGrant } from './revoke-grant.ts';
import { sign } from './sign.ts';
import { updateAlias } from './update-alias.ts';
import { verify } from './verify.ts';
import { verifyMac } from './verify-mac.ts';

/** By name. The types of each stand in its own file; the SDK's type test needs them, the pipeline does not. */
export const operations = {
  CreateAlias: createAlias,
  CreateGrant: createGrant,
  CreateKey: createKey,
  Decapsulate: decapsulate,
  Decrypt: decrypt,
  DeleteAlias: deleteAlias,
  DeriveSharedSecret: deriveSharedSecret,
  DescribeKey: describeKey,
  Encapsulate: encapsulate,
  Encrypt: encrypt,
  GenerateDataKey: generateDataKey,
  GenerateDataKeyPair: generateDataKeyPair,
  GenerateDataKeyPairWithoutPlaintext: generateDataKeyPairWithoutPlaintext,
  GenerateDataKeyWithoutPlaintext: generateDataKeyWithoutPlaintext,
  GenerateMac: generateMac,
  GenerateRandom: generateRandom,
  GetKeyPolicy: getKeyPolicy,
  GetPublicKey: getPublicKey,
  ListAliases: listAliases,
  ListGrants: listGrants,
  ListKeyPolicies: listKeyPolicies,
  ListKeys: listKeys,
  ListRetirableGrants: listRetirableGrants,
  PutKeyPolicy: putKeyPolicy,
  ReEncrypt: reEncrypt,
  RetireGrant: retireGrant,
  RevokeGrant: revokeGrant,
  Sign: sign,
  UpdateAlias: updateAlias,
  Verify: verify,
  VerifyMac: verifyMac,
} as const;

/** What AWS KMS has and this version has not. */
export const unbuiltOperations = [
  'CancelKeyDeletion',
  'ConnectCustomKeyStore',
  'CreateCustomKeyStore',
  'DeleteCustomKeyStore',
  'DeleteImportedKeyMaterial',
  'DescribeCustomKeyStores',
  'DisableKey',
  'DisableKeyRotation',
  'DisconnectCustomKeyStore',
  'EnableKey',
  'EnableKeyRotation',
  'GetKeyLastUsage',
  'GetKeyRotationStatus',
  'GetParametersForImport',
  'ImportKeyMaterial',
  'ListKeyRotations',
  'ListResourceTags',
  'ReplicateKey',
  'RotateKeyOnDemand',
  'ScheduleKeyDeletion',
  'TagResource',
  'UntagResource',
  'UpdateCustomKeyStore',
  'UpdateKeyDescription',
  'UpdatePrimaryRegion',
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
