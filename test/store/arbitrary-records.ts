/** Records of every kind, as fast-check's arbitraries. */

import fc from 'fast-check';
import { connectionErrorCodes } from '../../src/kms/connection-states.ts';
import { type GrantId, type GrantPrincipal, grantOperationNames } from '../../src/kms/grant-terms.ts';
import { keySpecNames, keyUsages } from '../../src/kms/key-specs.ts';
import { keyStates } from '../../src/kms/key-states.ts';
import type { AccessKeyId, AliasName, BackingKeyId, KeyId, PrincipalArn } from '../../src/kms/names.ts';
import { operationNames } from '../../src/kms/operation-names.ts';
import { recordKinds } from '../../src/store/record-columns.ts';
import type { MetadataRecords, RecordKind } from '../../src/store/records/records.ts';
import { type AnyPut, addedAny } from './records.ts';

const keyId = fc.uuid().map((text) => text as KeyId);
const backingKeyId = fc.stringMatching(/^[0-9a-f]{32}$/).map((text) => text as BackingKeyId);
const time = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const laterTime = fc.option(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }));
/** Any text that JSON can carry, with quotes, NULs, line ends and characters beyond the BMP more often than by chance. */
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom('', '\0', '"', "'; drop table kms_key; --", 'ä\u0308', '😀', '\ufeff', '\ufffd', '\r\n'),
);
const principal = fc
  .constantFrom('arn:aws:iam::000000000000:root', 'arn:aws:iam::111122223333:user/unix/a', 'dynamodb.amazonaws.com')
  .map((name) => name as GrantPrincipal);
/** From every Region, and from none. */
const region = fc.oneof(fc.constantFrom('us-east-1', 'eu-west-1'), text);
const pairs = fc.dictionary(fc.oneof(text, fc.constant('__proto__')), text, { maxKeys: 3, noNullPrototype: false });

const proof = fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes));
export const arbitraryRecord: { readonly [Kind in keyof MetadataRecords]: fc.Arbitrary<MetadataRecords[Kind]> } = {
  key: fc.record({
    region,
    version: time,
    keyId,
    state: fc.constantFrom(...keyStates),
    keySpec: fc.constantFrom(...keySpecNames),
    keyUsage: fc.constantFrom(...keyUsages),
    origin: fc.constantFrom('AWS_KMS', 'EXTERNAL'),
    keyManager: fc.constantFrom('AWS', 'CUSTOMER'),
    description: text,
    createdAtMs: time,
    currentBackingKeyId: fc.option(backingKeyId),
    tags: fc.array(fc.record({ TagKey: text, TagValue: text }), { maxLength: 3 }),
    deletionDateMs: laterTime,
    rotationPeriodDays: laterTime,
    nextRotationDateMs: laterTime,
    primaryRegion: text,
    deletionWindowDays: laterTime,
  }),
  backingKey: fc.record({
    version: time,
    owner: fc.oneof(backingKeyId, text),
    backingKeyId,
    keyId,
    regions: fc.oneof(region, fc.constant('')),
    keyStore: text,
    residency: fc.constant('token'),
    state: fc.constantFrom('Creating', 'Active', 'Destroying', 'Removed'),
    ordinal: time,
    createdAtMs: time,
    reservedEncryptions: time,
    publicKey: fc.option(fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => Buffer.from(bytes))),
    rotationType: fc.option(fc.constantFrom('AUTOMATIC', 'ON_DEMAND')),
    rotatedAtMs: laterTime,
    importedMaterialId: text,
    materialDescription: text,
    validToMs: laterTime,
    wrappedKey: fc.option(fc.uint8Array({ minLength: 1, maxLength: 80 }).map((bytes) => Buffer.from(bytes))),
    domainKeyId: fc.option(backingKeyId),
    wrappedKeySpec: fc.option(fc.constantFrom('SYMMETRIC_DEFAULT', 'RSA_2048')),
    wrappedKeyUsage: fc.option(fc.constantFrom('ENCRYPT_DECRYPT', 'SIGN_VERIFY')),
    formerDomainKeyIds: text,
  }),
  keyPolicy: fc.record({ region, version: time, keyId, document: text }),
  alias: fc.record({
    region,
    version: time,
    aliasName: fc.stringMatching(/^alias\/[a-zA-Z0-9/_-]{1,20}$/).map((name) => name as AliasName),
    keyId,
    createdAtMs: time,
    updatedAtMs: time,
  }),
  grant: fc.record({
    region,
    version: time,
    grantId: fc.stringMatching(/^[0-9a-f]{64}$/).map((id) => id as GrantId),
    keyId,
    name: text,
    grantee: principal,
    retiring: fc.option(principal),
    issuingAccount: text,
    operations: fc.subarray([...grantOperationNames]),
    constraints: fc.oneof(
      fc.record({ EncryptionContextEquals: pairs, SourceArn: text }, { requiredKeys: [] }),
      fc.record({ EncryptionContextSubset: pairs, SourceArn: text }, { requiredKeys: [] }),
    ),
    createdAtMs: time,
  }),
  accessKey: fc.record({
    version: time,
    accessKeyId: fc.stringMatching(/^AKIA[A-Z2-7]{16}$/).map((id) => id as AccessKeyId),
    principal: fc.constantFrom(
      'arn:aws:iam::000000000000:root' as PrincipalArn,
      'arn:aws:iam::000000000000:user/a/b' as PrincipalArn,
    ),
    sealedSecret: fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
    createdAtMs: time,
  }),
  tombstone: fc.record({ region, version: time, keyId, deletedAtMs: time, domainKeyIds: text }),
  lastUse: fc.record({
    region,
    version: time,
    keyId,
    operation: fc.constantFrom(...operationNames),
    usedAtMs: time,
    requestId: text,
    eventId: text,
  }),
  wrappingKey: fc.record({
    region,
    version: time,
    backingKeyId,
    keyId,
    keyStore: text,
    state: fc.constantFrom('Creating', 'Active', 'Destroying'),
    owner: text,
    principal: fc.constant('arn:aws:iam::000000000000:root' as PrincipalArn),
    wrappingAlgorithm: text,
    wrappingKeySpec: text,
    createdAtMs: time,
    validToMs: time,
  }),
  customKeyStore: fc.record({
    region: text,
    customKeyStoreId: text,
    version: time,
    name: text,
    cloudHsmClusterId: text,
    trustAnchorCertificate: text,
    sealedPassword: fc.uint8Array({ maxLength: 100 }).map((value) => Buffer.from(value)),
    createdAtMs: time,
    connection: fc.constantFrom('DISCONNECTED', 'CONNECTING', 'CONNECTED', 'FAILED'),
    connectionErrorCode: fc.option(fc.constantFrom(...connectionErrorCodes), { nil: null }),
    refusals: fc.array(
      fc.record({ cloudHsmClusterId: text, connectionErrorCode: fc.constantFrom(...connectionErrorCodes) }),
      { maxLength: 3 },
    ),
  }),
  milestone: fc.record({ version: time, milestone: text, reachedAtMs: time, ranMs: time }),
  upkeepWait: fc.record({ version: time, work: text, dueAtMs: time, ranMs: time, confirmedAtMs: laterTime }),
  domainKey: fc.record({
    version: time,
    keyStore: text,
    backingKeyId,
    state: fc.constantFrom('Creating', 'Active', 'Destroying'),
    owner: text,
    ordinal: time,
    createdAtMs: time,
    proof,
  }),
  remnant: fc.record({ version: time, keyStore: text, backingKeyId, keyId, owner: text, createdAtMs: time }),
  member: fc.record({
    ...{ version: time, keyStore: text, backingKeyId, name: text, proof },
    ...{ seenAtMs: time, leftUnder: time, leftAtMs: laterTime },
  }),
};

export const arbitraryPut: fc.Arbitrary<AnyPut> = fc.constantFrom(...recordKinds).chain((kind) =>
  // The kind and its record come from the same row of the table.
  (arbitraryRecord[kind] as fc.Arbitrary<MetadataRecords[RecordKind]>).map((record) => addedAny(kind, record)),
);
