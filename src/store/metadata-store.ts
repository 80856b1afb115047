/**
 * The contract of the metadata store: which records there are and how they are read and written.
 *
 * Every record authorizes something, so every record is authenticated: with it is stored a MAC over its canonical form,
 * computed by a service key in the HSM. INVARIANT: a record that `load()` returns has a MAC that verified; one that has
 * not is quarantined, named, and never used. Writes are one transaction each, on disk when the promise resolves.
 * Who may change what, and what a record means, is decided above; the store keeps and protects.
 */

import type { GrantConstraints, GrantId, GrantOperation, GrantPrincipal } from '../kms/grant-terms.ts';
import type { KeySpec, KeyUsage } from '../kms/key-specs.ts';
import type { KeyState } from '../kms/key-states.ts';
import type { AccessKeyId, AliasName, BackingKeyId, KeyId, PrincipalArn } from '../kms/names.ts';

/** A KMS key. Times are milliseconds since the epoch. */
export interface KeyRecord {
  readonly keyId: KeyId;
  /** `Creating` is an intent: its backing key may or may not exist in the HSM yet. */
  readonly state: KeyState;
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  readonly origin: 'AWS_KMS';
  readonly description: string;
  readonly createdAtMs: number;
  /** The backing key that new ciphertexts are made with. */
  readonly currentBackingKeyId: BackingKeyId;
  readonly tags: readonly { readonly TagKey: string; readonly TagValue: string }[];
}

/** One piece of key material in an HSM. */
export interface BackingKeyRecord {
  readonly backingKeyId: BackingKeyId;
  readonly keyId: KeyId;
  readonly keyStore: string;
  /** How the material lives: `token` is a PKCS#11 token object. */
  readonly residency: 'token';
  readonly state: 'Creating' | 'Active';
  /** 1 for the first backing key of a KMS key, then counting. */
  readonly ordinal: number;
  readonly createdAtMs: number;
  /** How many encryptions have been reserved so far; at least as many as have been done (NIST SP 800-38D, 8.3). */
  readonly reservedEncryptions: number;
  /** The public half of a pair, X.509 SubjectPublicKeyInfo in DER; `null` for a secret key, and before it was generated. */
  readonly publicKey: Buffer | null;
}

export interface KeyPolicyRecord {
  readonly keyId: KeyId;
  /** The document, to the letter as it was put. */
  readonly document: string;
}

export interface AliasRecord {
  readonly aliasName: AliasName;
  readonly keyId: KeyId;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** A permission on one KMS key that was given with CreateGrant. It is never changed, only removed. */
export interface GrantRecord {
  readonly grantId: GrantId;
  readonly keyId: KeyId;
  /** The caller's name for it; empty when there is none. */
  readonly name: string;
  readonly grantee: GrantPrincipal;
  /** Who may retire it, if the grant names somebody. */
  readonly retiring: GrantPrincipal | null;
  /** The account of the one who made it: 12 digits. */
  readonly issuingAccount: string;
  /** In the order of the request, each once. */
  readonly operations: readonly GrantOperation[];
  readonly constraints: GrantConstraints;
  readonly createdAtMs: number;
}

/** A long-lived access key for signed requests. It is never changed, only removed. */
interface AccessKeyRecord {
  readonly accessKeyId: AccessKeyId;
  /** Whose requests those are that it signs. */
  readonly principal: PrincipalArn;
  /** The secret access key, encrypted in the HSM: `daemon/credential-source.ts` says how. */
  readonly sealedSecret: Buffer;
  readonly createdAtMs: number;
}

/** The kinds of records, and which member of each is its primary key. */
export interface MetadataRecords {
  key: KeyRecord;
  backingKey: BackingKeyRecord;
  keyPolicy: KeyPolicyRecord;
  alias: AliasRecord;
  grant: GrantRecord;
  accessKey: AccessKeyRecord;
}
export const primaryKeys = {
  key: 'keyId',
  backingKey: 'backingKeyId',
  keyPolicy: 'keyId',
  alias: 'aliasName',
  grant: 'grantId',
  accessKey: 'accessKeyId',
} as const satisfies { [Kind in keyof MetadataRecords]: keyof MetadataRecords[Kind] };

export type RecordKind = keyof MetadataRecords;

export type Change = {
  [Kind in RecordKind]:
    | { readonly put: Kind; readonly record: MetadataRecords[Kind] }
    | { readonly remove: Kind; readonly id: string };
}[RecordKind];

export interface QuarantinedRecord {
  readonly kind: RecordKind;
  readonly id: string;
  readonly reason: string;
}

export interface LoadedMetadata {
  readonly key: readonly KeyRecord[];
  readonly backingKey: readonly BackingKeyRecord[];
  readonly keyPolicy: readonly KeyPolicyRecord[];
  readonly alias: readonly AliasRecord[];
  readonly grant: readonly GrantRecord[];
  readonly accessKey: readonly AccessKeyRecord[];
  readonly quarantined: readonly QuarantinedRecord[];
}

/** Computes a record's MAC: HMAC-SHA-256 (32 bytes) under the service key for metadata. */
export type RecordMac = (data: Buffer) => Promise<Buffer>;

export interface MetadataStore {
  /**
   * 32 bytes that depend on the service key and the purpose alone, computed by the HSM: for what must be authenticated
   * more often than the HSM should be asked, and authorizes nothing by itself.
   */
  deriveKey(purpose: 'grant-tokens'): Promise<Buffer>;
  /** Reads and verifies everything. Called once, at start. */
  load(): Promise<LoadedMetadata>;
  /**
   * Writes all changes in one transaction and waits for the disk. Rejects, having changed nothing: with a `StoreError`
   * when the disk or the database refuses, with the MAC's own error when the HSM does, and with a `TypeError` when a text
   * has a lone surrogate or a number is not whole, which callers make sure of.
   */
  write(changes: readonly Change[]): Promise<void>;
  close(): Promise<void>;
}
