/**
 * Which records there are, and what stands in them. What a record means is decided above; here it is only named.
 */

import type { ConnectionErrorCode } from '../../kms/connection-states.ts';
import type { GrantConstraints, GrantId, GrantOperation, GrantPrincipal } from '../../kms/grant-terms.ts';
import type { KeySpec, KeyUsage } from '../../kms/key-specs.ts';
import type { KeyOrigin, KeyState } from '../../kms/key-states.ts';
import type { AccessKeyId, AliasName, BackingKeyId, KeyId, PrincipalArn } from '../../kms/names.ts';
import type { OperationName } from '../../kms/operation-names.ts';

/** What every record has. */
interface Versioned {
  /** Raised by each write. Whoever puts or removes a record says which version he saw. */
  readonly version: number;
}

/** What belongs to one Region: ids and aliases are unique in theirs, and a multi-Region key has one id in several. */
interface Regional {
  readonly region: string;
}

/** A KMS key. Times are milliseconds since the epoch. */
export interface KeyRecord extends Versioned, Regional {
  readonly keyId: KeyId;
  /** `Creating` stands in records of former versions alone, for a creation that did not finish. */
  readonly state: KeyState;
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  readonly origin: Extract<KeyOrigin, 'AWS_KMS' | 'EXTERNAL' | 'AWS_CLOUDHSM'>;
  /** `AWS`: an AWS managed key, whom only the daemon changes. */
  readonly keyManager: 'AWS' | 'CUSTOMER';
  readonly description: string;
  readonly createdAtMs: number;
  /** The backing key that new ciphertexts are made with; `null` for a key that has no material. */
  readonly currentBackingKeyId: BackingKeyId | null;
  readonly tags: readonly { readonly TagKey: string; readonly TagValue: string }[];
  /** When a key that is pending deletion may be deleted; `null` for any other. */
  readonly deletionDateMs: number | null;
  /** Days between automatic rotations; `null` while they are not enabled. */
  readonly rotationPeriodDays: number | null;
  /** When the next automatic rotation is due; `null` while they are not enabled. Of a multi-Region key the primary has both. */
  readonly nextRotationDateMs: number | null;
  /** The Region of the primary key, of a multi-Region key; empty for any other. */
  readonly primaryRegion: string;
  /** Of a primary key that waits for the deletion of its replicas: the days that it waits then; `null` for any other. */
  readonly deletionWindowDays: number | null;
}

/**
 * One piece of key material in an HSM. The related keys of a multi-Region key share it, but where it was imported: then each Region has
 * a record of its own of the same backing key.
 */
export interface BackingKeyRecord extends Versioned {
  readonly backingKeyId: BackingKeyId;
  readonly keyId: KeyId;
  /**
   * The Regions whose keys have it, in the order of their names, separated by blanks (`keys/regions-of-material.ts`): it is material of no
   * key anywhere else. Empty in records of former versions: wherever there is the key. INVARIANT: no Region stands in two records of one backing key.
   */
  readonly regions: string;
  readonly keyStore: string;
  /** How the material lives: `token` is a PKCS#11 token object, `wrapped` a blob. What is not known is refused by `keys/`. */
  readonly residency: string;
  /**
   * `Creating` is an intent: the material may or may not exist in the HSM yet. `Destroying` is a duty: it is not used any more,
   * and may or may not exist still. `Removed`: imported material that was destroyed and may be imported again; with an
   * owner it is being imported again, and may or may not exist.
   */
  readonly state: 'Creating' | 'Active' | 'Destroying' | 'Removed';
  /** Of an intent or a duty: the node (`MetadataStore.nodeId`) that will finish or undo it; empty otherwise. */
  readonly owner: string;
  /** 1 for the first backing key of a KMS key, then counting. */
  readonly ordinal: number;
  readonly createdAtMs: number;
  /** How many encryptions have been reserved so far; at least as many as have been done (NIST SP 800-38D, 8.3). */
  readonly reservedEncryptions: number;
  /** The public half of a pair, X.509 SubjectPublicKeyInfo in DER; `null` for a secret key, and before it was generated. */
  readonly publicKey: Buffer | null;
  /** By which kind of rotation it became the current one; `null` for the first, and for one that has not been current yet. */
  readonly rotationType: 'AUTOMATIC' | 'ON_DEMAND' | null;
  /** When it became the current one by rotation; `null` as above, and for those of versions that did not write it. */
  readonly rotatedAtMs: number | null;
  /** Of imported material: its `KeyMaterialId`, 64 hexadecimal digits; empty for what was generated here. */
  readonly importedMaterialId: string;
  /** What the importer says of it. */
  readonly materialDescription: string;
  /** When imported material expires; `null`: it does not. */
  readonly validToMs: number | null;
  /**
   * Of material that is `wrapped`: the blob that the HSM made of it (`hsm/wrapped-key.ts`); `null` of any other, and from the moment on
   * in which its destruction begins. The blob itself says nothing of what it is; this record and its MAC do.
   */
  readonly wrappedKey: Buffer | null;
  /** The domain key that it is wrapped under; stays when the blob is gone, to say what could open an old copy of it. */
  readonly domainKeyId: BackingKeyId | null;
  /** The domain keys that it was wrapped under before it came into its key store, separated by blanks: they open old copies of it, too. */
  readonly formerDomainKeyIds: string;
  /** What the blob is unwrapped as; `null` of material that is not `wrapped`. */
  readonly wrappedKeySpec: KeySpec | null;
  readonly wrappedKeyUsage: KeyUsage | null;
}

/** Those members of material that is a token object. */
export const inToken = {
  wrappedKey: null,
  domainKeyId: null,
  formerDomainKeyIds: '',
  wrappedKeySpec: null,
  wrappedKeyUsage: null,
} as const satisfies Partial<BackingKeyRecord>;

/**
 * A domain key in an HSM: what is wrapped under it, this key store can unwrap. HSMs that have the same one, each with a record of its own,
 * are a domain.
 */
export interface DomainKeyRecord extends Versioned {
  readonly keyStore: string;
  /** Its `CKA_ID`, the same in all HSMs that have it. */
  readonly backingKeyId: BackingKeyId;
  /** `Creating` is an intent and `Destroying` a duty, as of a backing key. Of those that are `Active` the newest wraps what is new. */
  readonly state: 'Creating' | 'Active' | 'Destroying';
  readonly owner: string;
  /** Counts from 1 in each key store. */
  readonly ordinal: number;
  readonly createdAtMs: number;
  /** What it does (`keys/domain/key-proofs.ts`), of one that was made for several members, so that it is known again in each; empty of others. */
  readonly proof: Buffer;
}

/**
 * An HSM that is a member of a key store of several, or was one: known by its mark, a key that is in it alone and goes nowhere. What such an HSM
 * is to be asked is decided by this record, whatever name it stands under in the configuration.
 */
export interface MemberRecord extends Versioned {
  readonly keyStore: string;
  /** `CKA_ID` of its mark. Of one that left and was never seen with a mark there is no such object. */
  readonly backingKeyId: BackingKeyId;
  /** Under which it was seen last. */
  readonly name: string;
  /** What its mark makes of `markInput`; empty of one without a mark. */
  readonly proof: Buffer;
  readonly seenAtMs: number;
  /** Of one that left: the ordinal of the domain key that was made when it did; 0 of any other. */
  readonly leftUnder: number;
  /** When it left; `null` of one that did not. */
  readonly leftAtMs: number | null;
}

/**
 * A token object of a backing key that is being moved: it is in that key store, or may be, and is not what the backing key's record names.
 * It is an intent until the record names the object, which removes this one; and a duty from when the record names another place.
 * Whoever finds it without that has the object destroyed.
 */
export interface RemnantRecord extends Versioned {
  readonly keyStore: string;
  readonly backingKeyId: BackingKeyId;
  readonly keyId: KeyId;
  readonly owner: string;
  readonly createdAtMs: number;
}

export interface KeyPolicyRecord extends Versioned, Regional {
  readonly keyId: KeyId;
  /** The document, to the letter as it was put. */
  readonly document: string;
}

export interface AliasRecord extends Versioned, Regional {
  readonly aliasName: AliasName;
  readonly keyId: KeyId;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** A permission on one KMS key that was given with CreateGrant. It is never changed, only removed. */
export interface GrantRecord extends Versioned, Regional {
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
export interface AccessKeyRecord extends Versioned {
  readonly accessKeyId: AccessKeyId;
  /** Whose requests those are that it signs. */
  readonly principal: PrincipalArn;
  /** The secret access key, encrypted in the HSM: `daemon/credential-source.ts` says how. */
  readonly sealedSecret: Buffer;
  readonly createdAtMs: number;
}

/**
 * What is left of a KMS key that was deleted, so that an old row of it, put back, is known for what it is. It is put when the
 * destruction begins; until that is done, the key's other records stand beside it.
 */
export interface TombstoneRecord extends Versioned, Regional {
  readonly keyId: KeyId;
  readonly deletedAtMs: number;
  /**
   * The domain keys that its wrapped material was wrapped under, separated by blanks: while one of them is there, an old copy of the
   * database can be made use of together with it. Empty for material that was in the HSM alone.
   */
  readonly domainKeyIds: string;
}

/** The last successful use of a KMS key. */
export interface LastUseRecord extends Versioned, Regional {
  readonly keyId: KeyId;
  readonly operation: OperationName;
  readonly usedAtMs: number;
  readonly requestId: string;
  /** Of the event in the audit log. */
  readonly eventId: string;
}

/** A pair in the HSM under whose public half key material is wrapped that is to be imported (`GetParametersForImport`). */
export interface WrappingKeyRecord extends Versioned, Regional {
  readonly backingKeyId: BackingKeyId;
  /** The KMS key that it is for. */
  readonly keyId: KeyId;
  readonly keyStore: string;
  /** As of a backing key. */
  readonly state: 'Creating' | 'Active' | 'Destroying';
  readonly owner: string;
  /** Who asked for it. */
  readonly principal: PrincipalArn;
  readonly wrappingAlgorithm: string;
  readonly wrappingKeySpec: string;
  readonly createdAtMs: number;
  readonly validToMs: number;
}

/** A custom key store: what CreateCustomKeyStore made. */
export interface CustomKeyStoreRecord extends Versioned, Regional {
  readonly customKeyStoreId: string;
  /** The caller's name for it. */
  readonly name: string;
  /** Of its HSM: what that is called where AWS has the id of a cluster. */
  readonly cloudHsmClusterId: string;
  /** In PEM, as it was brought. */
  readonly trustAnchorCertificate: string;
  /** The PIN of the HSM, encrypted in that of the service keys: `daemon/key-store-passwords.ts` says how. */
  readonly sealedPassword: Buffer;
  readonly createdAtMs: number;
  /** What became of the last ConnectCustomKeyStore or DisconnectCustomKeyStore. */
  readonly connection: 'DISCONNECTED' | 'CONNECTING' | 'CONNECTED' | 'FAILED';
  /** Why it could not be connected; `null` where it could. One that says that the password was refused stays until there is another. */
  readonly connectionErrorCode: ConnectionErrorCode | null;
  /** Which HSMs that it was related to before have refused the same password, and how. */
  readonly refusals: readonly PasswordRefusal[];
}

export interface PasswordRefusal {
  readonly cloudHsmClusterId: string;
  readonly connectionErrorCode: ConnectionErrorCode;
}

/** When this instance did something for the first time. */
export interface MilestoneRecord extends Versioned {
  /** `upkeep`, `usage-tracking`. */
  readonly milestone: string;
  readonly reachedAtMs: number;
  /** Of `upkeep`: for how long the daemon has been running since, all runs together, as last written; 0 of others. */
  readonly ranMs: number;
}

/** What came due while the daemon was stopped and waits, or was confirmed (`daemon/upkeep/`). */
export interface UpkeepWaitRecord extends Versioned {
  /** What is to be done, and to what. */
  readonly work: string;
  /** When it was due: the wait is over for work that was put off since. */
  readonly dueAtMs: number;
  /** What the running time of the milestone `upkeep` was when it began to wait. */
  readonly ranMs: number;
  /** When an operator confirmed it; `null` until then. */
  readonly confirmedAtMs: number | null;
}

/** The kinds of records, and which members of each are its primary key. */
export interface MetadataRecords {
  key: KeyRecord;
  backingKey: BackingKeyRecord;
  keyPolicy: KeyPolicyRecord;
  alias: AliasRecord;
  grant: GrantRecord;
  accessKey: AccessKeyRecord;
  tombstone: TombstoneRecord;
  lastUse: LastUseRecord;
  wrappingKey: WrappingKeyRecord;
  customKeyStore: CustomKeyStoreRecord;
  milestone: MilestoneRecord;
  upkeepWait: UpkeepWaitRecord;
  domainKey: DomainKeyRecord;
  remnant: RemnantRecord;
  member: MemberRecord;
}
export const primaryKeys = {
  key: ['region', 'keyId'],
  backingKey: ['regions', 'backingKeyId'],
  keyPolicy: ['region', 'keyId'],
  alias: ['region', 'aliasName'],
  grant: ['region', 'grantId'],
  accessKey: ['accessKeyId'],
  tombstone: ['region', 'keyId'],
  lastUse: ['region', 'keyId'],
  wrappingKey: ['region', 'backingKeyId'],
  customKeyStore: ['region', 'customKeyStoreId'],
  milestone: ['milestone'],
  upkeepWait: ['work'],
  domainKey: ['keyStore', 'backingKeyId'],
  remnant: ['keyStore', 'backingKeyId'],
  member: ['keyStore', 'backingKeyId'],
} as const satisfies { [Kind in keyof MetadataRecords]: readonly (keyof MetadataRecords[Kind])[] };

export type RecordKind = keyof MetadataRecords;
