/**
 * Names of things in the KMS API, as types that cannot be mixed up: key ids, alias names, ARNs and their patterns.
 *
 * Each `parse…` takes a string from outside and returns the branded type or `undefined`; beside these only the functions
 * of this file that make a new name make one, so a `KeyId` in a signature is known to be well formed. A Region and the
 * account are one value, `Realm`, of which there is one for each Region that is served; principals are of an `Account` alone.
 *
 * Source: AWS KMS API reference, "KeyId" and "AliasName"; ARN formats of the AWS service authorization reference.
 */

import { randomBytes, randomUUID } from 'node:crypto';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** The id of a KMS key: a lower-case UUID or, of a multi-Region key, `mrk-` and 32 lower-case hexadecimal digits. */
export type KeyId = Branded<'KeyId'>;
/** `arn:aws:kms:REGION:ACCOUNT:key/KEY_ID`. */
export type KeyArn = Branded<'KeyArn'>;
/** `alias/NAME`, 1 to 256 characters in all. */
export type AliasName = Branded<'AliasName'>;
/** `arn:aws:kms:REGION:ACCOUNT:alias/NAME`. */
export type AliasArn = Branded<'AliasArn'>;
/**
 * A principal: `arn:aws:iam::ACCOUNT:root`, `…:user/PATH/NAME` or `…:role/PATH/NAME`, or a session of a role,
 * `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
 */
export type PrincipalArn = Branded<'PrincipalArn'>;
/** The id of an access key that is good until it is revoked: `AKIA` and 16 characters of base32. */
export type AccessKeyId = Branded<'AccessKeyId'>;
/** The identity of one PKCS#11 object: its `CKA_ID`, 16 random bytes as 32 lower-case hexadecimal digits. */
export type BackingKeyId = Branded<'BackingKeyId'>;

/** Whose principals and keys these are: 12 digits. */
export interface Account {
  readonly account: string;
}

/** Where keys stand in AWS's name space. */
export interface Realm extends Account {
  readonly region: string;
}

const regionPattern = /^[a-z]{2}(-[a-z]+)+-\d$/;
const keyIdPattern = /^(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32})$/;
const aliasNamePattern = /^alias\/[a-zA-Z0-9/_-]+$/;
const backingKeyIdPattern = /^[0-9a-f]{32}$/;
const accessKeyIdPattern = /^AKIA[A-Z2-7]{16}$/;
const principalArnPattern = /^arn:aws:(?:iam|sts)::\d{12}:(?:root|(?:user|role|assumed-role)\/[\w+=,.@/-]{1,576})$/;

/** As AWS calls its Regions: `us-east-1`. */
export function isRegionName(text: string): boolean {
  return regionPattern.test(text);
}

export function newKeyId(): KeyId {
  return randomUUID() as string as KeyId;
}

export function newMultiRegionKeyId(): KeyId {
  return `mrk-${randomBytes(16).toString('hex')}` as KeyId;
}

/** Is it the id of a multi-Region key? */
export function isMultiRegion(keyId: KeyId): boolean {
  return keyId.startsWith('mrk-');
}

/**
 * The 16 bytes of a key id as 32 hexadecimal digits: what a ciphertext has of it. Joined: V8 keeps what was put together otherwise
 * in its pieces, which takes five times as much for each key that is remembered.
 */
export function digitsOfKeyId(keyId: KeyId): string {
  return isMultiRegion(keyId) ? keyId.slice('mrk-'.length) : keyId.split('-').join('');
}

/** The two ids that have these 32 digits; no Region has keys under both. */
export function keyIdsOfDigits(digits: string): readonly [KeyId, KeyId] {
  const [a, b, c, d, e] = [
    digits.slice(0, 8),
    digits.slice(8, 12),
    digits.slice(12, 16),
    digits.slice(16, 20),
    digits.slice(20),
  ];
  return [`${a}-${b}-${c}-${d}-${e}` as KeyId, `mrk-${digits}` as KeyId];
}

/** A `CKA_ID` that no other object has. */
export function newBackingKeyId(): BackingKeyId {
  return randomBytes(16).toString('hex') as BackingKeyId;
}

export function parseKeyId(text: string): KeyId | undefined {
  return keyIdPattern.test(text) ? (text as KeyId) : undefined;
}

export function parseAliasName(text: string): AliasName | undefined {
  return text.length <= 256 && aliasNamePattern.test(text) ? (text as AliasName) : undefined;
}

export function parseBackingKeyId(text: string): BackingKeyId | undefined {
  return backingKeyIdPattern.test(text) ? (text as BackingKeyId) : undefined;
}

export function parseAccessKeyId(text: string): AccessKeyId | undefined {
  return accessKeyIdPattern.test(text) ? (text as AccessKeyId) : undefined;
}

export function parsePrincipalArn(text: string): PrincipalArn | undefined {
  return principalArnPattern.test(text) ? (text as PrincipalArn) : undefined;
}

export function keyArn({ region, account }: Realm, keyId: KeyId): KeyArn {
  return ['arn:aws:kms:', region, ':', account, ':key/', keyId].join('') as KeyArn; // Joined as above.
}

/** What a permission is asked on that must be one on all keys: a policy allows it only where its resource covers them all. */
export function everyKeyPattern({ region, account }: Realm): string {
  return `arn:aws:kms:${region}:${account}:key/*`;
}

export function aliasArn({ region, account }: Realm, aliasName: AliasName): AliasArn {
  return `arn:aws:kms:${region}:${account}:${aliasName}` as AliasArn;
}

/** The alias of an AWS managed key. `service`: lower-case letters, digits and `-`. */
export function managedAliasName(service: string): AliasName {
  return `alias/aws/${service}` as AliasName;
}

/** By what name a service of AWS is known in a Region: `ebs.us-east-1.amazonaws.com`. */
export function serviceEndpoint({ region }: Realm, service: string): string {
  return `${service}.${region}.amazonaws.com`;
}

/** The account's root principal, `arn:aws:iam::ACCOUNT:root`. */
export function rootArn({ account }: Account): PrincipalArn {
  return `arn:aws:iam::${account}:root` as PrincipalArn;
}

/**
 * The principal of a Unix user that no configuration maps: `arn:aws:iam::ACCOUNT:user/unix/NAME`. A name with characters
 * that IAM does not allow, and a uid without a name, become `uid=NUMBER`, which no Unix user can be called.
 */
export function unixUserArn({ account }: Account, uid: number, userName: string | undefined): PrincipalArn {
  const name = userName !== undefined && /^[\w+,.@-]{1,64}$/.test(userName) ? userName : `uid=${uid}`;
  return `arn:aws:iam::${account}:user/unix/${name}` as PrincipalArn;
}

/**
 * The principal of somebody in a container who has the uid of one of the account's roots: `arn:aws:iam::ACCOUNT:user/container/NAME/root`,
 * where uids other than 0 are `uid=NUMBER`.
 */
export function containerUserArn({ account }: Account, container: string, uid: number): PrincipalArn {
  return `arn:aws:iam::${account}:user/container/${container}/${uid === 0 ? 'root' : `uid=${uid}`}` as PrincipalArn;
}

/** A caller, by what he is called. */
interface NamedCaller {
  readonly arn: PrincipalArn;
  readonly accountId: string;
  /** Of a session. */
  readonly role?: PrincipalArn;
  /** Of a session that was had by AssumeRole. */
  readonly roleId?: string;
}

/**
 * A caller's unique id: GetCallerIdentity's `UserId`, the condition key `aws:userid` and the audit log's `principalId`. As in
 * AWS the root has its account's id, and a session `ROLE-ID:SESSION-NAME`; users, and roles to which users of the operating system are
 * mapped, have no ids here beside their ARNs.
 */
export function userIdOf({ arn, accountId, role, roleId = role }: NamedCaller): string {
  if (arn === rootArn({ account: accountId })) return accountId;
  return roleId === undefined ? arn : `${roleId}:${arn.slice(arn.lastIndexOf('/') + 1)}`;
}

/** The id of a new custom key store, in AWS's form: `cks-` and 17 hexadecimal digits. */
export function newCustomKeyStoreId(): string {
  return `cks-${randomBytes(9).toString('hex').slice(1)}`;
}

/** No key store of the configuration can be called so. */
export function isCustomKeyStoreId(keyStore: string): boolean {
  return keyStore.startsWith('cks-');
}
