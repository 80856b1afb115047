/**
 * The KMS key in memory: what the store's records and the compiled policy come together to.
 *
 * Only `key-directory.ts` makes these objects, and makes another one when a record changes; everybody else reads them. They
 * hold no key material: a backing key is the name of an object in an HSM, or what the HSM wrapped, and the key store that can use it.
 */

import { hash } from 'node:crypto';
import type { CompiledPolicy } from '../authorization/language/compiled-policy.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import type { BackingKeyReference } from '../hsm/wrapped-key.ts';
import { KmsError } from '../kms/errors.ts';
import type { KeyState } from '../kms/key-states.ts';
import type { BackingKeyId, KeyArn } from '../kms/names.ts';
import type { BackingKeyRecord, KeyPolicyRecord, KeyRecord } from '../store/records/records.ts';
import type { EncryptionCounter } from './encryption-counter.ts';
import { internalMessage } from './key-store-errors.ts';

/** A key store for whoever uses keys: what makes and destroys them is for `life/` alone. */
export type KeyStoreInUse = Omit<
  KeyStore,
  | 'generateKey'
  | 'generateWrappingKey'
  | 'examineImport'
  | 'importKey'
  | 'generateDomainKey'
  | 'generateWrappedKey'
  | 'importWrappedKey'
  | 'forgetWrappedKey'
  | 'wrapKey'
  | 'keepWrappedKey'
  | 'destroyKey'
  | 'reconnect'
  | 'stopGenerating'
  | 'close'
>;

export interface BackingKey {
  readonly record: BackingKeyRecord;
  readonly keyStore: KeyStoreInUse;
  /** What the API shows as `KeyMaterialId` (`keyMaterialIdOf`). */
  readonly keyMaterialId: string;
  /** What names it in calls to its key store, wherever it lives. */
  readonly reference: BackingKeyReference;
  /** Counts what may be encrypted with it. */
  readonly counter: EncryptionCounter;
}

/** What the API calls the material of a backing key: 64 hexadecimal digits. */
export function keyMaterialIdOf({
  backingKeyId,
  importedMaterialId,
}: Pick<BackingKeyRecord, 'backingKeyId' | 'importedMaterialId'>): string {
  if (importedMaterialId !== '') return importedMaterialId;
  return hash('sha256', `drawbridge/key-material-id/1:${backingKeyId}`, 'hex');
}

export interface KmsKey {
  readonly record: KeyRecord;
  /**
   * The state that operations are answered by: what the record says, or `PendingImport` from the moment on in which material that
   * the key needs has expired (`expiry-watch.ts`).
   */
  readonly state: KeyState;
  readonly arn: KeyArn;
  /** Of its id, as ciphertexts have it. */
  readonly idDigits: string;
  /** The key policy as it was put, and its compiled form. */
  readonly policyRecord: KeyPolicyRecord;
  readonly policy: CompiledPolicy;
  /** All backing keys that can be used, old ones too: they decrypt what they encrypted. */
  readonly backingKeys: ReadonlyMap<BackingKeyId, BackingKey>;
  /** What is on record of all material that the key ever had, also of what is being destroyed or was; by ordinal. */
  readonly materials: readonly BackingKeyRecord[];
  /** What is on record of the current material, also while it is not there; absent where there never was any. */
  readonly currentMaterial: BackingKeyRecord | undefined;
  /** Absent while the key has no material, or its current material is not there. */
  readonly currentBackingKey: BackingKey | undefined;
}

/**
 * The backing key that a key is used with. No key without one is in a state in which it can be used.
 * @throws KmsError `KMSInternalException`.
 */
export function currentBackingKeyOf({ arn, currentBackingKey }: KmsKey): BackingKey {
  if (currentBackingKey !== undefined) return currentBackingKey;
  throw new KmsError('KMSInternalException', internalMessage, new Error(`${arn} has no key material`));
}
