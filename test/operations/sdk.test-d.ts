/**
 * Holds every operation's request and response to the AWS SDK's types: a drift from the real API does not compile.
 *
 * Differences of notation are levelled out first: the SDK writes required members as `T | undefined`, its blobs are
 * `Uint8Array` where ours are `Buffer` or `Plaintext`, and its lists are mutable.
 */

import type * as Sdk from '@aws-sdk/client-kms';
import type { Infer } from '../../src/operations/declaration/schema.ts';
import type { operations, unbuiltOperations } from '../../src/operations/table.ts';
import type { Plaintext } from '../../src/secrets/secret-bytes.ts';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Assert<T extends true> = T;

/** One notation for both: blobs are `Blob`, no `readonly`, no `undefined` beside the question mark. */
type Level<T> = T extends Plaintext | Uint8Array
  ? 'Blob'
  : T extends Date
    ? Date
    : T extends string | number | boolean
      ? T
      : T extends readonly (infer Item)[]
        ? Level<Item>[]
        : T extends object
          ? string extends keyof T
            ? { -readonly [Name in keyof T]: Level<T[Name]> }
            : { -readonly [Name in keyof T]: Level<Exclude<T[Name], undefined>> }
          : T;

type Built = typeof operations;
type OwnRequest<Name extends keyof Built> = Level<Infer<Built[Name]['request']>>;
type OwnResponse<Name extends keyof Built> = Level<Infer<Built[Name]['response']>>;
type OutputMembers<T> = Omit<T, '$metadata'>;

export type Requests = [
  Assert<Equal<OwnRequest<'CreateAlias'>, Level<Sdk.CreateAliasRequest>>>,
  Assert<Equal<OwnRequest<'CreateGrant'>, Level<Sdk.CreateGrantRequest>>>,
  Assert<Equal<OwnRequest<'CreateKey'>, Level<Sdk.CreateKeyRequest>>>,
  Assert<Equal<OwnRequest<'Decrypt'>, Level<Sdk.DecryptRequest>>>,
  Assert<Equal<OwnRequest<'DeleteAlias'>, Level<Sdk.DeleteAliasRequest>>>,
  Assert<Equal<OwnRequest<'DescribeKey'>, Level<Sdk.DescribeKeyRequest>>>,
  Assert<Equal<OwnRequest<'Encrypt'>, Level<Sdk.EncryptRequest>>>,
  Assert<Equal<OwnRequest<'GenerateDataKey'>, Level<Sdk.GenerateDataKeyRequest>>>,
  Assert<Equal<OwnRequest<'GenerateDataKeyWithoutPlaintext'>, Level<Sdk.GenerateDataKeyWithoutPlaintextRequest>>>,
  Assert<Equal<OwnRequest<'GenerateRandom'>, Level<Sdk.GenerateRandomRequest>>>,
  Assert<Equal<OwnRequest<'GetKeyPolicy'>, Level<Sdk.GetKeyPolicyRequest>>>,
  Assert<Equal<OwnRequest<'ListAliases'>, Level<Sdk.ListAliasesRequest>>>,
  Assert<Equal<OwnRequest<'ListGrants'>, Level<Sdk.ListGrantsRequest>>>,
  Assert<Equal<OwnRequest<'ListKeyPolicies'>, Level<Sdk.ListKeyPoliciesRequest>>>,
  Assert<Equal<OwnRequest<'ListKeys'>, Level<Sdk.ListKeysRequest>>>,
  Assert<Equal<OwnRequest<'ListRetirableGrants'>, Level<Sdk.ListRetirableGrantsRequest>>>,
  Assert<Equal<OwnRequest<'PutKeyPolicy'>, Level<Sdk.PutKeyPolicyRequest>>>,
  Assert<Equal<OwnRequest<'ReEncrypt'>, Level<Sdk.ReEncryptRequest>>>,
  Assert<Equal<OwnRequest<'RetireGrant'>, Level<Sdk.RetireGrantRequest>>>,
  Assert<Equal<OwnRequest<'RevokeGrant'>, Level<Sdk.RevokeGrantRequest>>>,
  Assert<Equal<OwnRequest<'UpdateAlias'>, Level<Sdk.UpdateAliasRequest>>>,
  Assert<Equal<OwnRequest<'Decapsulate'>, Level<Sdk.DecapsulateRequest>>>,
  Assert<Equal<OwnRequest<'DeriveSharedSecret'>, Level<Sdk.DeriveSharedSecretRequest>>>,
  Assert<Equal<OwnRequest<'Encapsulate'>, Level<Sdk.EncapsulateRequest>>>,
  Assert<Equal<OwnRequest<'GenerateDataKeyPair'>, Level<Sdk.GenerateDataKeyPairRequest>>>,
  Assert<
    Equal<OwnRequest<'GenerateDataKeyPairWithoutPlaintext'>, Level<Sdk.GenerateDataKeyPairWithoutPlaintextRequest>>
  >,
  Assert<Equal<OwnRequest<'GenerateMac'>, Level<Sdk.GenerateMacRequest>>>,
  Assert<Equal<OwnRequest<'GetPublicKey'>, Level<Sdk.GetPublicKeyRequest>>>,
  Assert<Equal<OwnRequest<'Sign'>, Level<Sdk.SignRequest>>>,
  Assert<Equal<OwnRequest<'Verify'>, Level<Sdk.VerifyRequest>>>,
  Assert<Equal<OwnRequest<'VerifyMac'>, Level<Sdk.VerifyMacRequest>>>,
];

export type Responses = [
  Assert<Equal<OwnResponse<'CreateGrant'>, Level<Sdk.CreateGrantResponse>>>,
  Assert<Equal<OwnResponse<'CreateKey'>, Level<Sdk.CreateKeyResponse>>>,
  Assert<Equal<OwnResponse<'Decrypt'>, Level<Sdk.DecryptResponse>>>,
  Assert<Equal<OwnResponse<'DescribeKey'>, Level<Sdk.DescribeKeyResponse>>>,
  Assert<Equal<OwnResponse<'Encrypt'>, Level<Sdk.EncryptResponse>>>,
  Assert<Equal<OwnResponse<'GenerateDataKey'>, Level<Sdk.GenerateDataKeyResponse>>>,
  Assert<Equal<OwnResponse<'GenerateDataKeyWithoutPlaintext'>, Level<Sdk.GenerateDataKeyWithoutPlaintextResponse>>>,
  Assert<Equal<OwnResponse<'GenerateRandom'>, Level<Sdk.GenerateRandomResponse>>>,
  Assert<Equal<OwnResponse<'GetKeyPolicy'>, Level<Sdk.GetKeyPolicyResponse>>>,
  Assert<Equal<OwnResponse<'ListAliases'>, Level<Sdk.ListAliasesResponse>>>,
  Assert<Equal<OwnResponse<'ListGrants'>, Level<Sdk.ListGrantsResponse>>>,
  Assert<Equal<OwnResponse<'ListKeyPolicies'>, Level<Sdk.ListKeyPoliciesResponse>>>,
  Assert<Equal<OwnResponse<'ListKeys'>, Level<Sdk.ListKeysResponse>>>,
  Assert<Equal<OwnResponse<'ListRetirableGrants'>, Level<Sdk.ListGrantsResponse>>>,
  Assert<Equal<OwnResponse<'ReEncrypt'>, Level<Sdk.ReEncryptResponse>>>,
  Assert<Equal<OwnResponse<'CreateAlias'>, Level<OutputMembers<Sdk.CreateAliasCommandOutput>>>>,
  Assert<Equal<OwnResponse<'RetireGrant'>, Level<OutputMembers<Sdk.RetireGrantCommandOutput>>>>,
  Assert<Equal<OwnResponse<'RevokeGrant'>, Level<OutputMembers<Sdk.RevokeGrantCommandOutput>>>>,
  Assert<Equal<OwnResponse<'UpdateAlias'>, Level<OutputMembers<Sdk.UpdateAliasCommandOutput>>>>,
  Assert<Equal<OwnResponse<'DeleteAlias'>, Level<OutputMembers<Sdk.DeleteAliasCommandOutput>>>>,
  Assert<Equal<OwnResponse<'PutKeyPolicy'>, Level<OutputMembers<Sdk.PutKeyPolicyCommandOutput>>>>,
  Assert<Equal<OwnResponse<'Decapsulate'>, Level<Sdk.DecapsulateResponse>>>,
  Assert<Equal<OwnResponse<'DeriveSharedSecret'>, Level<Sdk.DeriveSharedSecretResponse>>>,
  Assert<Equal<OwnResponse<'Encapsulate'>, Level<Sdk.EncapsulateResponse>>>,
  Assert<Equal<OwnResponse<'GenerateDataKeyPair'>, Level<Sdk.GenerateDataKeyPairResponse>>>,
  Assert<
    Equal<OwnResponse<'GenerateDataKeyPairWithoutPlaintext'>, Level<Sdk.GenerateDataKeyPairWithoutPlaintextResponse>>
  >,
  Assert<Equal<OwnResponse<'GenerateMac'>, Level<Sdk.GenerateMacResponse>>>,
  Assert<Equal<OwnResponse<'GetPublicKey'>, Level<Sdk.GetPublicKeyResponse>>>,
  Assert<Equal<OwnResponse<'Sign'>, Level<Sdk.SignResponse>>>,
  Assert<Equal<OwnResponse<'Verify'>, Level<Sdk.VerifyResponse>>>,
  Assert<Equal<OwnResponse<'VerifyMac'>, Level<Sdk.VerifyMacResponse>>>,
];

/** Every operation that has a row above, so that a new one without a row does not compile. */
type Compared =
  | 'CreateAlias'
  | 'CreateGrant'
  | 'CreateKey'
  | 'Decrypt'
  | 'DeleteAlias'
  | 'DescribeKey'
  | 'Encrypt'
  | 'GenerateDataKey'
  | 'GenerateDataKeyWithoutPlaintext'
  | 'GenerateRandom'
  | 'GetKeyPolicy'
  | 'ListAliases'
  | 'ListGrants'
  | 'ListKeyPolicies'
  | 'ListKeys'
  | 'ListRetirableGrants'
  | 'PutKeyPolicy'
  | 'ReEncrypt'
  | 'RetireGrant'
  | 'RevokeGrant'
  | 'Decapsulate'
  | 'DeriveSharedSecret'
  | 'Encapsulate'
  | 'GenerateDataKeyPair'
  | 'GenerateDataKeyPairWithoutPlaintext'
  | 'GenerateMac'
  | 'GetPublicKey'
  | 'Sign'
  | 'Verify'
  | 'VerifyMac'
  | 'UpdateAlias';
export type Complete = Assert<Equal<Compared, keyof Built>>;

/** The SDK's operations, from the names of its commands. */
type SdkOperation = keyof typeof Sdk extends infer Name
  ? Name extends `${infer Operation}Command`
    ? Operation extends '$'
      ? never
      : Operation
    : never
  : never;
export type Table = Assert<Equal<keyof Built | (typeof unbuiltOperations)[number], SdkOperation>>;

// The comparison can fail: neither a missing member, a wrong type, nor a lost `optional` passes.
// @ts-expect-error A member is missing.
export type CanFailByMissing = Assert<Equal<Omit<OwnRequest<'Encrypt'>, 'DryRun'>, Level<Sdk.EncryptRequest>>>;
// @ts-expect-error A member has another type.
export type CanFailByType = Assert<Equal<OwnRequest<'Encrypt'> & { KeyId: number }, Level<Sdk.EncryptRequest>>>;
// @ts-expect-error A required member became optional.
export type CanFailByOptional = Assert<Equal<Partial<OwnRequest<'CreateAlias'>>, Level<Sdk.CreateAliasRequest>>>;
