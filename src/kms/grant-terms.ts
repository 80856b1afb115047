/**
 * The words of grants: which operations a grant can allow and on which keys, whom it can name, and its id.
 *
 * A principal of a grant is either an ARN (user, role, session, federated user, or an account by its root) or the name of
 * an AWS service (`dynamodb.amazonaws.com`); an ARN begins with `arn:`, a service's name has no colon, so one string holds
 * either. Whether a principal exists is not asked: accounts other than this one are not known here.
 *
 * Source: AWS KMS API reference, CreateGrant; developer guide, "Grants in AWS KMS", "Grant operations".
 */

import { randomBytes } from 'node:crypto';
import type { KeySpec, KeyUsage } from './key-specs.ts';

declare const brand: unique symbol;
/** 64 lower-case hexadecimal digits: 32 random bytes. */
export type GrantId = string & { readonly [brand]: 'GrantId' };
/** An ARN or the name of a service. */
export type GrantPrincipal = string & { readonly [brand]: 'GrantPrincipal' };

interface GrantOperationRow {
  /** The KeyUsages that the operation is for; `undefined`: every key has it. */
  readonly usages?: readonly KeyUsage[];
  /** What kind of key it takes, where the usage does not tell already. */
  readonly kind?: 'symmetric' | 'asymmetric';
  /** Does a request of this operation have an encryption context, so that a constraint on it applies? */
  readonly takesContext: boolean;
}

const encryption = { usages: ['ENCRYPT_DECRYPT'], takesContext: true } as const;
const dataKey = { usages: ['ENCRYPT_DECRYPT'], kind: 'symmetric', takesContext: true } as const;
const without = (...usages: readonly KeyUsage[]) => ({ usages, takesContext: false }) as const;

/** In the order of the API reference. */
const grantOperations = {
  Decrypt: encryption,
  Encrypt: encryption,
  GenerateDataKey: dataKey,
  GenerateDataKeyWithoutPlaintext: dataKey,
  ReEncryptFrom: encryption,
  ReEncryptTo: encryption,
  Sign: without('SIGN_VERIFY'),
  Verify: without('SIGN_VERIFY'),
  GetPublicKey: { kind: 'asymmetric', takesContext: false },
  // A constraint of a grant that allows CreateGrant binds the grants made with it, not the request that makes them.
  CreateGrant: { takesContext: false },
  RetireGrant: { takesContext: false },
  DescribeKey: { takesContext: false },
  GenerateDataKeyPair: dataKey,
  GenerateDataKeyPairWithoutPlaintext: dataKey,
  GenerateMac: without('GENERATE_VERIFY_MAC'),
  VerifyMac: without('GENERATE_VERIFY_MAC'),
  DeriveSharedSecret: without('KEY_AGREEMENT'),
  Encapsulate: without('ENCAPSULATE_DECAPSULATE'),
  Decapsulate: without('ENCAPSULATE_DECAPSULATE'),
} as const satisfies Record<string, GrantOperationRow>;

export type GrantOperation = keyof typeof grantOperations;
// Safe: the keys of the table are what the type is made of.
export const grantOperationNames = Object.keys(grantOperations) as readonly GrantOperation[];

interface KindOfKey {
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
}

/** Can a key of this spec and usage do the operation at all? */
export function isOperationOf(operation: GrantOperation, { keySpec, keyUsage }: KindOfKey): boolean {
  const { usages, kind }: GrantOperationRow = grantOperations[operation];
  if (usages !== undefined && !usages.includes(keyUsage)) return false;
  if (kind === 'symmetric') return keySpec === 'SYMMETRIC_DEFAULT';
  return kind !== 'asymmetric' || (keySpec !== 'SYMMETRIC_DEFAULT' && keyUsage !== 'GENERATE_VERIFY_MAC');
}

export function makesPairs(operation: GrantOperation): boolean {
  return operation === 'GenerateDataKeyPair' || operation === 'GenerateDataKeyPairWithoutPlaintext';
}

/** Does a constraint on the encryption context restrict this operation? */
export function takesEncryptionContext(operation: GrantOperation): boolean {
  return grantOperations[operation].takesContext;
}

export type EncryptionContextPairs = Readonly<Record<string, string>>;

/**
 * As the API spells them. At most one of the two encryption contexts is there; names of pairs are compared without regard to case
 * (`context-pairs.ts`).
 */
export interface GrantConstraints {
  /** The context of the request has these pairs and no others. */
  readonly EncryptionContextEquals?: EncryptionContextPairs | undefined;
  /** The context of the request has these pairs, and may have others. */
  readonly EncryptionContextSubset?: EncryptionContextPairs | undefined;
  /** The request is made by an AWS service for this resource. No AWS service calls this daemon, so none ever is. */
  readonly SourceArn?: string | undefined;
}

/** What a grant allows: all that decides whether one grant is within another. */
export interface GrantTerms {
  readonly operations: readonly GrantOperation[];
  readonly constraints: GrantConstraints;
}

const grantIdPattern = /^[0-9a-f]{64}$/;
const principalArnPattern =
  /^arn:aws:(?:iam::\d{12}:(?:root|(?:user|role)\/[\w+=,.@/-]{1,576})|sts::\d{12}:(?:assumed-role\/[\w+=,.@-]{1,64}|federated-user)\/[\w+=,.@-]{1,64})$/;
const serviceNamePattern = /^[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,10}$/;

export function newGrantId(): GrantId {
  return randomBytes(32).toString('hex') as GrantId;
}

export function parseGrantId(text: string): GrantId | undefined {
  return grantIdPattern.test(text) ? (text as GrantId) : undefined;
}

/** The ARN of a user, a role, a session, a federated user, or an account's root. */
export function parseGrantPrincipalArn(text: string): GrantPrincipal | undefined {
  return principalArnPattern.test(text) ? (text as GrantPrincipal) : undefined;
}

/** The name of a service: `dynamodb.us-east-1.amazonaws.com`. */
export function parseServicePrincipal(text: string): GrantPrincipal | undefined {
  return serviceNamePattern.test(text) ? (text as GrantPrincipal) : undefined;
}

export function parseGrantPrincipal(text: string): GrantPrincipal | undefined {
  return parseGrantPrincipalArn(text) ?? parseServicePrincipal(text);
}

export function isServicePrincipal(principal: GrantPrincipal): boolean {
  return !principal.startsWith('arn:');
}
