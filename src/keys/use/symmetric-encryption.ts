/**
 * Encryption and decryption with symmetric KMS keys: from an `AuthorizedKey` to the ciphertext blob and back.
 *
 * Each encryption takes a number from the backing key's counter first; a backing key whose numbers are used up is
 * replaced by rotation, and the caller notices nothing. Decryption uses the backing key that the blob names, provided
 * that it belongs to the authorized key. Every way in which a blob can be wrong is one error with one text.
 */

import { KmsError } from '../../kms/errors.ts';
import type { KeySpec } from '../../kms/key-specs.ts';
import { stateRefusal } from '../../kms/key-states.ts';
import type { Plaintext } from '../../secrets/secret-bytes.ts';
import type { AuthorizedKey } from '../authorized-key.ts';
import { inKeyStore, invalidCiphertext } from '../key-store-errors.ts';
import { type BackingKey, currentBackingKeyOf, type KmsKey } from '../kms-key.ts';
import type { KeyLife } from '../life/key-life.ts';
import { assertTokenCanGenerate } from '../token-capabilities.ts';
import {
  additionalAuthenticatedData,
  type CiphertextBlob,
  type EncryptionContext,
  encodeCiphertext,
} from './ciphertext.ts';

/** What was used, as the API tells it. */
export interface UsedKeyMaterial {
  readonly algorithm: 'SYMMETRIC_DEFAULT';
  readonly keyMaterialId: string;
}

export interface Encrypted extends UsedKeyMaterial {
  readonly ciphertextBlob: Buffer;
}

/**
 * An asymmetric ciphertext can hold nothing, and ReEncrypt would bring it here; Encrypt takes one byte at least.
 * @throws KmsError `ValidationException` for an empty plaintext.
 */
export function assertNotEmpty(plaintext: Plaintext): void {
  if (plaintext.lengthBytes > 0) return;
  throw new KmsError('ValidationException', 'Algorithm SYMMETRIC_DEFAULT cannot encrypt an empty plaintext.');
}

/**
 * Encrypts 1 to 4,096 bytes.
 * @throws KmsError `ValidationException` for an empty plaintext, and what `key-store-errors.ts` makes of the HSM's failures.
 */
export async function encrypt(
  life: Pick<KeyLife, 'rotate'>,
  authorized: AuthorizedKey,
  plaintext: Plaintext,
  context: EncryptionContext | undefined,
): Promise<Encrypted> {
  assertNotEmpty(plaintext);
  const backingKey = countedNow(authorized) ?? (await countedBackingKey(life, authorized.key));
  const aad = aadOf(authorized, backingKey, context);
  const { backingKeyId, wrapped } = backingKey.reference;
  const encrypted = await inKeyStore(() => backingKey.keyStore.encrypt({ backingKeyId, wrapped, aad, plaintext }));
  return encryptedWith(backingKey, aad, encrypted);
}

/** A data key of `lengthBytes` from the HSM's random generator, in plaintext and encrypted. */
export async function generateDataKey(
  life: Pick<KeyLife, 'rotate'>,
  authorized: AuthorizedKey,
  lengthBytes: number,
  context: EncryptionContext | undefined,
): Promise<Encrypted & { readonly plaintext: Plaintext }> {
  const { backingKey, aad } = await prepareEncryption(life, authorized, context);
  const request = { ...backingKey.reference, aad, lengthBytes };
  const made = await inKeyStore(() => backingKey.keyStore.generateDataKey(request));
  return { ...encryptedWith(backingKey, aad, made), plaintext: made.plaintext };
}

/** As `generateDataKey`; the plaintext never leaves the HSM host. */
export async function generateDataKeyWithoutPlaintext(
  life: Pick<KeyLife, 'rotate'>,
  authorized: AuthorizedKey,
  lengthBytes: number,
  context: EncryptionContext | undefined,
): Promise<Encrypted> {
  const { backingKey, aad } = await prepareEncryption(life, authorized, context);
  const request = { ...backingKey.reference, aad, lengthBytes };
  const made = await inKeyStore(() => backingKey.keyStore.generateDataKeyWithoutPlaintext(request));
  return encryptedWith(backingKey, aad, made);
}

/** A key pair from the HSM: its public key, its private key encrypted and, only if asked for, in plaintext. */
export async function generateDataKeyPair(
  life: Pick<KeyLife, 'rotate'>,
  authorized: AuthorizedKey,
  pair: { readonly keyPairSpec: KeySpec; readonly withPlaintext: boolean },
  context: EncryptionContext | undefined,
): Promise<Encrypted & { readonly publicKey: Buffer; readonly plaintext: Plaintext | null }> {
  // Before an encryption is counted, and in the words of the dry run.
  assertTokenCanGenerate(authorized.material.keyStore, pair.keyPairSpec);
  const { backingKey, aad } = await prepareEncryption(life, authorized, context);
  const request = { ...backingKey.reference, aad, ...pair };
  const made = await inKeyStore(() => backingKey.keyStore.generateDataKeyPair(request));
  return { ...encryptedWith(backingKey, aad, made), publicKey: made.publicKey, plaintext: made.plaintext };
}

/**
 * Decrypts a blob of the authorized key.
 * @throws KmsError `InvalidCiphertextException` for whatever is wrong with the blob or its encryption context.
 */
export async function decrypt(
  authorized: AuthorizedKey,
  blob: CiphertextBlob,
  context: EncryptionContext | undefined,
): Promise<UsedKeyMaterial & { readonly plaintext: Plaintext }> {
  const backingKey = authorized.key.backingKeys.get(blob.backingKeyId);
  if (backingKey === undefined || blob.keyIdDigits !== authorized.key.idDigits) throw invalidCiphertext();
  const { iv, ciphertext } = blob;
  const aad = additionalAuthenticatedData(blob, context);
  const plaintext = await inKeyStore(() =>
    backingKey.keyStore.decrypt({ ...backingKey.reference, aad, iv, ciphertext }),
  );
  return { plaintext, algorithm: 'SYMMETRIC_DEFAULT', keyMaterialId: backingKey.keyMaterialId };
}

async function prepareEncryption(
  life: Pick<KeyLife, 'rotate'>,
  authorized: AuthorizedKey,
  context: EncryptionContext | undefined,
) {
  const backingKey = countedNow(authorized) ?? (await countedBackingKey(life, authorized.key));
  return { backingKey, aad: aadOf(authorized, backingKey, context) };
}

/** What nearly every encryption has: the next number is there. */
function countedNow({ material }: AuthorizedKey): BackingKey | undefined {
  return material.counter.tryTake() ? material : undefined;
}

function aadOf({ key }: AuthorizedKey, { record }: BackingKey, context: EncryptionContext | undefined): Buffer {
  return additionalAuthenticatedData({ keyIdDigits: key.idDigits, backingKeyId: record.backingKeyId }, context);
}

function encryptedWith(
  { keyMaterialId }: BackingKey,
  aad: Buffer,
  made: Pick<CiphertextBlob, 'iv' | 'ciphertext'>,
): Encrypted {
  return { ciphertextBlob: encodeCiphertext(aad, made), algorithm: 'SYMMETRIC_DEFAULT', keyMaterialId };
}

/** Where the hot path ends: reserves the next numbers, and rotates the key when there are none. */
async function countedBackingKey(life: Pick<KeyLife, 'rotate'>, key: KmsKey): Promise<BackingKey> {
  let backingKey = currentBackingKeyOf(key);
  for (;;) {
    // Others who waited for the same block may have taken all of it by the time this caller goes on.
    if (backingKey.counter.tryTake()) return backingKey;
    const isReserved = await backingKey.counter.reserve();
    assertHasNotExpired(key);
    if (!isReserved) {
      backingKey = currentBackingKeyOf(await life.rotate(key.record.keyId, backingKey.record.backingKeyId));
    }
  }
}

/** Imported material may expire while its next numbers are waited for. @throws KmsError `KMSInvalidStateException`. */
function assertHasNotExpired({ arn, state, record: { origin } }: KmsKey): void {
  const refusal = stateRefusal('use', { arn, state, origin });
  if (refusal !== undefined) throw refusal;
}
