/** Records of every kind, as examples, and a MAC to store them with. */

import { createHmac } from 'node:crypto';
import type { GrantId, GrantPrincipal } from '../../src/kms/grant-terms.ts';
import type { AccessKeyId, AliasName, BackingKeyId, KeyId, PrincipalArn } from '../../src/kms/names.ts';
import type { Change, LoadedMetadata, MetadataRecords, RecordMac } from '../../src/store/metadata-store.ts';
import { primaryKeys } from '../../src/store/metadata-store.ts';
import { recordKinds } from '../../src/store/record-columns.ts';

/** What an HSM computes with an HMAC key, computed here: the store cannot tell, and needs no token for its tests. */
export const testMac: RecordMac = async (data) => createHmac('sha256', 'a key for tests').update(data).digest();

export type AnyPut = Extract<Change, { readonly record: unknown }>;

export function idOf(put: AnyPut): string {
  return (put.record as unknown as Record<string, string>)[primaryKeys[put.put]] ?? '';
}

/** What was loaded, as puts in a fixed order, for comparisons. */
export function asPuts(loaded: LoadedMetadata): readonly AnyPut[] {
  return sorted(recordKinds.flatMap((kind) => loaded[kind].map((record) => ({ put: kind, record }) as AnyPut)));
}

/** The last put of each record, in the same order as `asPuts`. */
export function lastPuts(puts: readonly AnyPut[]): readonly AnyPut[] {
  return sorted([...new Map(puts.map((put) => [`${put.put} ${idOf(put)}`, put])).values()]);
}

function sorted(puts: readonly AnyPut[]): readonly AnyPut[] {
  return [...puts].sort((a, b) => (`${a.put} ${idOf(a)}` < `${b.put} ${idOf(b)}` ? -1 : 1));
}

/** An example of each kind. */
export const examples = {
  key: {
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    state: 'Enabled',
    keySpec: 'SYMMETRIC_DEFAULT',
    keyUsage: 'ENCRYPT_DECRYPT',
    origin: 'AWS_KMS',
    description: 'the key of the payroll',
    createdAtMs: 1_700_000_000_000,
    currentBackingKeyId: '00112233445566778899aabbccddeeff' as BackingKeyId,
    tags: [{ TagKey: 'team', TagValue: 'payroll' }],
  },
  backingKey: {
    backingKeyId: '00112233445566778899aabbccddeeff' as BackingKeyId,
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    keyStore: 'default',
    residency: 'token',
    state: 'Active',
    ordinal: 1,
    createdAtMs: 1_700_000_000_000,
    reservedEncryptions: 65_536,
    publicKey: Buffer.from('302a300506032b6570032100', 'hex'),
  },
  keyPolicy: {
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    document: '{"Version":"2012-10-17","Statement":[]}',
  },
  alias: {
    aliasName: 'alias/payroll' as AliasName,
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    createdAtMs: 1_700_000_000_000,
    updatedAtMs: 1_700_000_000_001,
  },
  grant: {
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
    accessKeyId: 'AKIAIOSFODNN7EXAMPLE' as AccessKeyId,
    principal: 'arn:aws:iam::000000000000:user/app' as PrincipalArn,
    sealedSecret: Buffer.from('a sealed secret'),
    createdAtMs: 1_700_000_000_000,
  },
} as const satisfies MetadataRecords;

export const examplePuts: readonly AnyPut[] = recordKinds.map(
  (kind) => ({ put: kind, record: examples[kind] }) as AnyPut,
);

export function aliasPut(name: string, updatedAtMs = 0): AnyPut {
  return { put: 'alias', record: { ...examples.alias, aliasName: `alias/${name}` as AliasName, updatedAtMs } };
}
