/**
 * Request and response members that several operations share, with AWS's limits; `enumerations.ts` has those that are names.
 *
 * Source: the service model of AWS KMS (lengths and patterns of `KeyIdType`, `GrantTokenList`, `MarkerType`, …).
 */

import type { KeyReferenceForms } from '../../keys/key-reference.ts';
import { findReferencedKey } from '../../keys/key-reference.ts';
import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import type { Quotas } from '../../kms/budgets.ts';
import { KmsError } from '../../kms/errors.ts';
import {
  blob,
  boolean,
  enumeration,
  integer,
  list,
  object,
  optional,
  secretBlob,
  string,
  stringMap,
} from './schema.ts';
import { wholly } from './whole-pattern.ts';

export const keyReference = string({ min: 1, max: 2048 });
export const aliasName = string({ min: 1, max: 256, pattern: /^[a-zA-Z0-9:/_-]+$/ });
export const keyDescription = string({ min: 0, max: 8192 });
/** Of AWS, as its service model has it. */
export const regionName = string({ min: 1, max: 32, pattern: /^([a-z]+-){2,3}\d+$/ });
export const policyName = string({ min: 1, max: 128, pattern: wholly('[\\w]+') });
export const policyDocument = string({
  min: 1,
  max: 131_072,
  pattern: wholly('[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+'),
});
/** What is signed or authenticated: wiped like a plaintext, and never on record. */
export const message = secretBlob({ min: 1, max: 4096 });
export const customKeyStoreId = string({ min: 1, max: 64 });
export const keyMaterialId = string({ min: 64, max: 64, pattern: /^[a-f0-9]+$/ });
export const dataKeyBytes = integer({ min: 1, max: 1024 });
/** The canonical form of a context travels to the HSM with every call: bounded, as AWS bounds it. */
const maxEncryptionContextBytes = 8192;
export const encryptionContext = optional<Readonly<Record<string, string>>>({
  ...stringMap,
  decode(value, path, context) {
    const map = stringMap.decode(value, path, context);
    if (!isWithin(maxEncryptionContextBytes, map)) {
      context.problems.push(
        `Value at '${path}' failed to satisfy constraint: Member must have at most ${maxEncryptionContextBytes} bytes of keys and values`,
      );
    }
    return map;
  },
});

/** Has the map, names and values, at most so many bytes of UTF-8? */
function isWithin(maxBytes: number, map: Readonly<Record<string, string>>): boolean {
  let units = 0;
  for (const name in map) units += name.length + (map[name]?.length ?? 0);
  if (units * maxBytesPerUnit <= maxBytes) return true;
  let bytes = 0;
  for (const name in map) bytes += Buffer.byteLength(name) + Buffer.byteLength(map[name] ?? '');
  return bytes <= maxBytes;
}

/** What a unit of UTF-16 takes in UTF-8 at most. */
const maxBytesPerUnit = 3;

export const grantTokens = optional(list(string({ min: 1, max: 8192 }), { min: 0, max: 10 }));
export const dryRun = optional(boolean);
export const dryRunModifiers = optional(list(enumeration(['IGNORE_CIPHERTEXT']), { min: 0, max: 1 }));
export const ciphertextBlob = blob({ min: 1, max: 6144 });
export const marker = optional(string({ min: 1, max: 1024, pattern: wholly('[\\u0020-\\u00FF]*') }));
export const limit = optional(integer({ min: 1, max: 1000 }));
export const recipient = optional(
  object({
    KeyEncryptionAlgorithm: optional(enumeration(['RSAES_OAEP_SHA_256'])),
    AttestationDocument: optional(blob({ min: 1, max: 262_144 })),
  }),
);

/** The condition keys of operations that take an encryption context. */
export const encryptionConditions = [
  'kms:EncryptionAlgorithm',
  'kms:EncryptionContext',
  'kms:EncryptionContextKeys',
] as const;

/** For `needs`: the key that a member of the request names. */
export function keyNamedBy<const Name extends string>(
  member: Name,
  forms: KeyReferenceForms,
): (request: { readonly [M in Name]: string }, directory: KeyView) => KmsKey {
  return (request, directory) => findReferencedKey(directory, request[member], forms);
}

/** For `needs`: the algorithm that a member of the request chose, SYMMETRIC_DEFAULT when it is absent. */
export function algorithmNamedBy<const Name extends string>(
  member: Name,
): (request: { readonly [M in Name]?: string | undefined }) => string {
  return (request) => request[member] ?? 'SYMMETRIC_DEFAULT';
}

/** For `needs` of operations on no particular resource. */
export function anyResource(): string {
  return '*';
}

/**
 * Refuses the `Recipient` member by name: it asks for a plaintext that only an attested AWS Nitro enclave or NitroTPM can
 * open, and to hand the plaintext out in the clear instead would betray what was asked for.
 */
export function refuseRecipient(request: { readonly Recipient?: unknown }): void {
  if (request.Recipient !== undefined) {
    throw new KmsError(
      'UnsupportedOperationException',
      'Recipient is not supported: attested environments of AWS Nitro do not exist here.',
    );
  }
}

/** A key has one policy, and it is called `default`. */
export function assertDefaultPolicyName(name: string | undefined): void {
  if (name !== undefined && name !== 'default') throw new KmsError('NotFoundException', 'No such policy exists');
}

/**
 * The service model allows more characters than the quota; what is above it is refused as AWS refuses it, before it is read.
 * @throws KmsError `LimitExceededException`.
 */
export function assertPolicyLength(document: string, { policyBytes }: Quotas): void {
  const bytes = Buffer.byteLength(document);
  if (bytes > policyBytes) {
    throw new KmsError('LimitExceededException', `A key policy has at most ${policyBytes} bytes, not ${bytes}`);
  }
}

/** What policies may ask of a key that is being made. Source: AWS KMS developer guide, permissions reference, `kms:CreateKey`. */
export const newKeyConditions = [
  'kms:BypassPolicyLockoutSafetyCheck',
  'kms:CustomerMasterKeySpec',
  'kms:CustomerMasterKeyUsage',
  'kms:KeyOrigin',
  'kms:KeySpec',
  'kms:KeyUsage',
  'kms:MultiRegion',
  'kms:MultiRegionKeyType',
  'aws:RequestTag',
  'aws:TagKeys',
] as const;
