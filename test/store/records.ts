/** Records of every kind, as examples, and a MAC to store them with. */

import { createHmac } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import type { GrantId, GrantPrincipal } from '../../src/kms/grant-terms.ts';
import type { AccessKeyId, AliasName, BackingKeyId, KeyId, PrincipalArn } from '../../src/kms/names.ts';
import type { LoadedMetadata, RecordMacs } from '../../src/store/metadata-store.ts';
import { recordKinds } from '../../src/store/record-columns.ts';
import { added, type Change } from '../../src/store/records/changes.ts';
import {
  type AliasRecord,
  type MetadataRecords,
  primaryKeys,
  type RecordKind,
} from '../../src/store/records/records.ts';

/** What an HSM computes with an HMAC key, computed here: the store cannot tell, and needs no token for its tests. */
export const testMac = async (data: Buffer): Promise<Buffer> =>
  createHmac('sha256', 'a key for tests').update(data).digest();
export const testMacs = eachByItself(testMac);

/** For whoever looks at the MACs one by one. */
export function eachByItself(mac: (data: Buffer) => Promise<Buffer>): RecordMacs {
  return (messages) => Promise.all(messages.map(mac));
}

/** The Region that rows of former formats get; the examples are of it as well. */
export const formerRegion = 'us-east-1';

export type AnyPut = Extract<Change, { readonly put: unknown }>;

/** Which record it puts: the kind and the primary key. */
export function identityOf({ put, record }: AnyPut): string {
  const members = record as unknown as Record<string, string>;
  return [put, ...primaryKeys[put].map((name) => members[name])].join(' ');
}

/** What was loaded, as puts in a fixed order, for comparisons. */
export function asPuts(loaded: LoadedMetadata): readonly AnyPut[] {
  return sorted(recordKinds.flatMap((kind) => loaded[kind].map((record) => addedAny(kind, record))));
}

/** The last put of each record, in the same order as `asPuts`. */
export function lastPuts(puts: readonly AnyPut[]): readonly AnyPut[] {
  const last = new Map(puts.map((put) => [identityOf(put), put]));
  return sorted([...last.values()].map(({ put, record }) => addedAny(put, record)));
}

/** The same puts, each in the place of the one before it that has its primary key. */
export function inSequence(puts: readonly AnyPut[]): readonly AnyPut[] {
  const versions = new Map<string, number>();
  return puts.map((put) => {
    const replaces = versions.get(identityOf(put)) ?? null;
    versions.set(identityOf(put), put.record.version);
    return { ...put, replaces };
  });
}

/** `added` for whoever does not know which kind it is. */
export function addedAny(kind: RecordKind, record: MetadataRecords[RecordKind]): AnyPut {
  return added(kind, record) as AnyPut;
}

function sorted(puts: readonly AnyPut[]): readonly AnyPut[] {
  return [...puts].sort((one, other) => (identityOf(one) < identityOf(other) ? -1 : 1));
}

/** How the store refuses a change of a record that is not there in the version that it was decided on. */
export const conflict = {
  name: 'StoreError',
  failure: 'conflict',
  message: 'a record is not there in the version that the change was decided on',
} as const;

/** An example of each kind. */
export const examples = {
  key: {
    region: formerRegion,
    version: 1,
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    state: 'Enabled',
    keySpec: 'SYMMETRIC_DEFAULT',
    keyUsage: 'ENCRYPT_DECRYPT',
    origin: 'AWS_KMS',
    keyManager: 'CUSTOMER',
    description: 'the key of the payroll',
    createdAtMs: 1_700_000_000_000,
    currentBackingKeyId: '00112233445566778899aabbccddeeff' as BackingKeyId,
    tags: [{ TagKey: 'team', TagValue: 'payroll' }],
    deletionDateMs: null,
    rotationPeriodDays: 365,
    nextRotationDateMs: 1_731_536_000_000,
    primaryRegion: 'eu-central-1',
    deletionWindowDays: 7,
  },
  backingKey: {
    version: 1,
    backingKeyId: '00112233445566778899aabbccddeeff' as BackingKeyId,
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    regions: formerRegion,
    keyStore: 'default',
    residency: 'token',
    state: 'Active',
    owner: '',
    ordinal: 1,
    createdAtMs: 1_700_000_000_000,
    reservedEncryptions: 65_536,
    publicKey: Buffer.from('302a300506032b6570032100', 'hex'),
    rotationType: 'ON_DEMAND',
    rotatedAtMs: 1_700_000_000_000,
    importedMaterialId: 'd5b8a0c2f10e4b7795c1a8e2f3046b7a1c9d5e8f20317b6c4d9e8f7a6b5c4d3e',
    materialDescription: 'from the old HSM',
    validToMs: 1_731_536_000_000,
    wrappedKey: Buffer.from('016a5d0c1f', 'hex'),
    domainKeyId: 'aabbccddeeff00112233445566778899' as BackingKeyId,
    wrappedKeySpec: 'SYMMETRIC_DEFAULT',
    wrappedKeyUsage: 'ENCRYPT_DECRYPT',
    formerDomainKeyIds: '99887766554433221100ffeeddccbbaa aabbccddeeff00112233445566778899',
  },
  keyPolicy: {
    region: formerRegion,
    version: 1,
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    document: '{"Version":"2012-10-17","Statement":[]}',
  },
  alias: {
    region: formerRegion,
    version: 1,
    aliasName: 'alias/payroll' as AliasName,
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    createdAtMs: 1_700_000_000_000,
    updatedAtMs: 1_700_000_000_001,
  },
  grant: {
    region: formerRegion,
    version: 1,
    grantId: '0c237476b39f8bc44e45212e08498fbe3151305030726c0590dd8d3e9f3d6a60' as GrantId,
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    name: 'backup',
    grantee: 'arn:aws:iam::000000000000:user/unix/backup' as GrantPrincipal,
    retiring: null,
    issuingAccount: '000000000000',
    operations: ['Decrypt', 'RetireGrant'],
    constraints: { EncryptionContextSubset: { department: 'payroll' } },
    createdAtMs: 1_700_000_000_000,
  },
  accessKey: {
    version: 1,
    accessKeyId: 'AKIAIOSFODNN7EXAMPLE' as AccessKeyId,
    principal: 'arn:aws:iam::000000000000:user/app' as PrincipalArn,
    sealedSecret: Buffer.from('a sealed secret'),
    createdAtMs: 1_700_000_000_000,
  },
  tombstone: {
    region: formerRegion,
    version: 1,
    keyId: '99999999-2222-3333-4444-555555555555' as KeyId,
    deletedAtMs: 1_700_000_000_000,
    domainKeyIds: 'aabbccddeeff00112233445566778899',
  },
  lastUse: {
    region: formerRegion,
    version: 1,
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    operation: 'Decrypt',
    usedAtMs: 1_700_000_000_000,
    requestId: '6d2a1f3e-7a55-4b0e-9a51-0f8a7f0f4f11',
    eventId: '7c3b2a1f-8b66-4c1f-8b62-1a9b8a1a5a22',
  },
  wrappingKey: {
    region: formerRegion,
    version: 1,
    backingKeyId: 'ffeeddccbbaa99887766554433221100' as BackingKeyId,
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    keyStore: 'default',
    state: 'Active',
    owner: '',
    principal: 'arn:aws:iam::000000000000:user/app' as PrincipalArn,
    wrappingAlgorithm: 'RSAES_OAEP_SHA_256',
    wrappingKeySpec: 'RSA_4096',
    createdAtMs: 1_700_000_000_000,
    validToMs: 1_700_086_400_000,
  },
  customKeyStore: {
    region: formerRegion,
    customKeyStoreId: 'cks-1234567890abcdef0',
    version: 1,
    name: 'payments',
    cloudHsmClusterId: 'cluster-1a23b4cdefg',
    trustAnchorCertificate: '-----BEGIN CERTIFICATE-----',
    sealedPassword: Buffer.from('sealed'),
    createdAtMs: 1_700_000_000_000,
    connection: 'FAILED',
    connectionErrorCode: 'INVALID_CREDENTIALS',
    refusals: [{ cloudHsmClusterId: 'cluster-2b34c5defgh', connectionErrorCode: 'USER_LOCKED_OUT' }],
  },
  milestone: { version: 1, milestone: 'upkeep', reachedAtMs: 1_700_000_000_000, ranMs: 86_400_000 },
  upkeepWait: {
    version: 1,
    work: 'rotation 11111111-2222-3333-4444-555555555555',
    dueAtMs: 1_700_000_000_000,
    ranMs: 3_600_000,
    confirmedAtMs: null,
  },
  domainKey: {
    version: 1,
    keyStore: 'default',
    backingKeyId: 'aabbccddeeff00112233445566778899' as BackingKeyId,
    state: 'Active',
    owner: '',
    ordinal: 1,
    createdAtMs: 1_700_000_000_000,
    proof: Buffer.alloc(0),
  },
  member: {
    version: 1,
    keyStore: 'default',
    backingKeyId: 'aabbccddeeff00112233445566778899' as BackingKeyId,
    name: 'second',
    proof: Buffer.from('what its mark makes'),
    seenAtMs: 1_700_000_000_000,
    leftUnder: 2,
    leftAtMs: 1_700_000_000_000,
  },
  remnant: {
    version: 1,
    keyStore: 'default',
    backingKeyId: 'aabbccddeeff00112233445566778899' as BackingKeyId,
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    owner: 'a-node',
    createdAtMs: 1_700_000_000_000,
  },
} as const satisfies MetadataRecords;

export const examplePuts: readonly AnyPut[] = recordKinds.map((kind) => addedAny(kind, examples[kind]));

/** @param replaces The version in whose place it is put; the next one is its own. */
export function aliasPut(name: string, updatedAtMs = 0, replaces: number | null = null) {
  const aliasName = `alias/${name}` as AliasName;
  const record: AliasRecord = { ...examples.alias, aliasName, updatedAtMs, version: (replaces ?? 0) + 1 };
  return { put: 'alias', record, replaces } as const;
}

/** Has the file look like one of a version before roots, for tests of what each record's own MAC tells: `signed-root.test.ts` is about roots. */
export function removeRoot(database: DatabaseSync): void {
  database.exec('DELETE FROM root');
}
