/**
 * The table of operations: one row for each that is built, and nothing else. Routing, auditing, the linter's actions, type
 * tests, the tests of every operation and the table in README.md are drawn from it, by way of `find-operation.ts`.
 */

export { createAlias } from './aliases/create-alias.ts';
export { deleteAlias } from './aliases/delete-alias.ts';
export { listAliases } from './aliases/list-aliases.ts';
export { updateAlias } from './aliases/update-alias.ts';
export { decapsulate } from './cryptography/decapsulate.ts';
export { decrypt } from './cryptography/decrypt.ts';
export { deriveSharedSecret } from './cryptography/derive-shared-secret.ts';
export { encapsulate } from './cryptography/encapsulate.ts';
export { encrypt } from './cryptography/encrypt.ts';
export { generateMac } from './cryptography/generate-mac.ts';
export { generateRandom } from './cryptography/generate-random.ts';
export { reEncrypt } from './cryptography/re-encrypt.ts';
export { sign } from './cryptography/sign.ts';
export { verify } from './cryptography/verify.ts';
export { verifyMac } from './cryptography/verify-mac.ts';
export { generateDataKey } from './data-keys/generate-data-key.ts';
export { generateDataKeyPair } from './data-keys/generate-data-key-pair.ts';
export { generateDataKeyPairWithoutPlaintext } from './data-keys/generate-data-key-pair-without-plaintext.ts';
export { generateDataKeyWithoutPlaintext } from './data-keys/generate-data-key-without-plaintext.ts';
export { createGrant } from './grants/create-grant.ts';
export { listGrants } from './grants/list-grants.ts';
export { listRetirableGrants } from './grants/list-retirable-grants.ts';
export { retireGrant } from './grants/retire-grant.ts';
export { revokeGrant } from './grants/revoke-grant.ts';
export { deleteImportedKeyMaterial } from './import/delete-imported-key-material.ts';
export { getParametersForImport } from './import/get-parameters-for-import.ts';
export { importKeyMaterial } from './import/import-key-material.ts';
export { cancelKeyDeletion } from './keys/cancel-key-deletion.ts';
export { createKey } from './keys/create-key.ts';
export { describeKey } from './keys/describe-key.ts';
export { disableKey } from './keys/disable-key.ts';
export { enableKey } from './keys/enable-key.ts';
export { getKeyLastUsage } from './keys/get-key-last-usage.ts';
export { getPublicKey } from './keys/get-public-key.ts';
export { listKeys } from './keys/list-keys.ts';
export { scheduleKeyDeletion } from './keys/schedule-key-deletion.ts';
export { updateKeyDescription } from './keys/update-key-description.ts';
export { getKeyPolicy } from './policies/get-key-policy.ts';
export { listKeyPolicies } from './policies/list-key-policies.ts';
export { putKeyPolicy } from './policies/put-key-policy.ts';
export { disableKeyRotation } from './rotation/disable-key-rotation.ts';
export { enableKeyRotation } from './rotation/enable-key-rotation.ts';
export { getKeyRotationStatus } from './rotation/get-key-rotation-status.ts';
export { listKeyRotations } from './rotation/list-key-rotations.ts';
export { rotateKeyOnDemand } from './rotation/rotate-key-on-demand.ts';
export { listResourceTags } from './tags/list-resource-tags.ts';
export { tagResource } from './tags/tag-resource.ts';
export { untagResource } from './tags/untag-resource.ts';
