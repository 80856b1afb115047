/**
 * The KMS key in memory: what the store's records and the compiled policy come together to.
 *
 * Only `key-directory.ts` makes and changes these objects; everybody else reads them. They hold no key material: a
 * backing key is the name of an object in an HSM and the store in which it lives.
 */

import type { CompiledPolicy } from '../authorization/language/policy-document.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import type { BackingKeyId, KeyArn } from '../kms/names.ts';
import type { BackingKeyRecord, KeyRecord } from '../store/metadata-store.ts';
import type { EncryptionCounter } from './encryption-counter.ts';

export interface BackingKey {
  readonly record: BackingKeyRecord;
  readonly keyStore: KeyStore;
  /** What the API shows as `KeyMaterialId`: 64 hexadecimal digits, the SHA-256 of a tag and the backing key's id. */
  readonly keyMaterialId: string;
  /** Counts what may be encrypted with it. */
  readonly counter: EncryptionCounter;
}

export interface KmsKey {
  readonly record: KeyRecord;
  readonly arn: KeyArn;
  /** The key policy's text as it was put, and its compiled form. */
  readonly policyDocument: string;
  readonly policy: CompiledPolicy;
  /** All backing keys, old ones too: they decrypt what they encrypted. */
  readonly backingKeys: ReadonlyMap<BackingKeyId, BackingKey>;
  readonly currentBackingKey: BackingKey;
}
