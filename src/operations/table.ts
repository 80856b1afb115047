/**
 * The operations of AWS KMS: those that are built, and the names of those that are not yet.
 *
 * The one list from which routing, auditing and the documentation are drawn. Together the two parts are exactly the
 * operations of the AWS SDK (`test/operations/sdk.test-d.ts`), so that a caller of a known operation hears
 * `UnsupportedOperationException` and one of an invented operation `UnknownOperationException`.
 */

import { createAlias } from './aliases/create-alias.ts';
import { deleteAlias } from './aliases/delete-alias.ts';
import { listAliases } from './aliases/list-aliases.ts';
import { updateAlias } from './aliases/update-alias.ts';
import { decapsulate } from './cryptography/decapsulate.ts';
import { decrypt } from './cryptography/decrypt.ts';
import { deriveSharedSecret } from './cryptography/derive-shared-secret.ts';
import { encapsulate } from './cryptography/encapsulate.ts';
import { encrypt } from './cryptography/encrypt.ts';
import { generateMac } from './cryptography/generate-mac.ts';
import { generateRandom } from './cryptography/generate-random.ts';
import { reEncrypt } from './cryptography/re-encrypt.ts';
import { sign } from './cryptography/sign.ts';
import { verify } from './cryptography/verify.ts';
import { verifyMac } from './cryptography/verify-mac.ts';
import { generateDataKey } from './data-keys/generate-data-key.ts';
import { generateDataKeyPair } from './data-keys/generate-data-key-pair.ts';
import { generateDataKeyPairWithoutPlaintext } from './data-keys/generate-data-key-pair-without-plaintext.ts';
import { generateDataKeyWithoutPlaintext } from './data-keys/generate-data-key-without-plaintext.ts';
import type { AnyOperation } from './declaration/operation.ts';
import { createGrant } from './grants/create-grant.ts';
import { listGrants } from './grants/list-grants.ts';
import { listRetirableGrants } from './grants/list-retirable-grants.ts';
import { retireGrant } from './grants/retire-grant.ts';
import { revokeGrant } from './grants/revoke-grant.ts';
import { createKey } from './keys/create-key.ts';
import { describeKey } from './keys/describe-key.ts';
import { getPublicKey } from './keys/get-public-key.ts';
import { listKeys } from './keys/list-keys.ts';
import { getKeyPolicy } from './policies/get-key-policy.ts';
import { listKeyPolicies } from './policies/list-key-policies.ts';
import { putKeyPolicy } from './policies/put-key-policy.ts';

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
