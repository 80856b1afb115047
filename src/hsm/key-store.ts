/**
 * What the rest of the API process knows of an HSM: a key store, in the HSM's own domain and without PKCS#11.
 *
 * A backing key is named by its `BackingKeyId` (its `CKA_ID`) and nothing else. Failures are `KeyStoreError`s with one
 * of a closed set of reasons, so that whoever calls can decide; their messages are for operators and carry no secret,
 * no PIN and no handle.
 */

import type { KeySpec, KeyUsage } from '../kms/key-specs.ts';
import type { BackingKeyId } from '../kms/names.ts';
import type { Plaintext } from '../secrets/secret-bytes.ts';

/** Why a call to a key store failed. Order: the caller's fault, the key's, the token's, ours. */
export type KeyStoreFailure =
  /** The ciphertext, tag or AAD does not belong together; nothing else is said about why. */
  | 'ciphertextInvalid'
  /** No object, or more than one, has this `CKA_ID`, or it lacks the usage. */
  | 'keyUnavailable'
  /** The token lacks a mechanism or function; the message names it (`CKM_…`). */
  | 'unsupported'
  /** The token has no room for another object. */
  | 'tokenFull'
  /** The device is busy, or the queue to it is full: try again later. */
  | 'busy'
  /** No connection to the token now, or it was lost during a call that must not be repeated. */
  | 'unavailable'
  /** The call did not end before its deadline; its host was replaced. */
  | 'timeout'
  /** A key was made with weaker protection than asked (and destroyed again), or the library misbehaved. */
  | 'internal';

export class KeyStoreError extends Error {
  override readonly name = 'KeyStoreError';
  readonly failure: KeyStoreFailure;

  constructor(failure: KeyStoreFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.failure = failure;
  }
}

/** What the HSM says about a key object, read back from it. */
export interface BackingKeyAttributes {
  readonly backingKeyId: BackingKeyId;
  readonly label: string;
  /** `CKO_SECRET_KEY`, `CKO_PRIVATE_KEY`. */
  readonly objectClass: string;
  /** `CKK_AES`, `CKK_GENERIC_SECRET`, … */
  readonly keyType: string;
  readonly keyBits: number | null;
  readonly token: boolean;
  readonly private: boolean;
  readonly sensitive: boolean;
  readonly alwaysSensitive: boolean;
  readonly extractable: boolean;
  readonly neverExtractable: boolean;
  readonly modifiable: boolean;
  readonly local: boolean;
  /** The usage attributes that are true: `CKA_ENCRYPT`, `CKA_DECRYPT`, … */
  readonly usages: readonly string[];
}

/** One line of what a token can do: an algorithm of a KeySpec, and why (not). */
export interface Capability {
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  /** KMS's name of the algorithm (`SYMMETRIC_DEFAULT`, `RSASSA_PSS_SHA_256`), or `KEY_GENERATION`. */
  readonly algorithm: string;
  readonly works: boolean;
  /** `probed`: done once on this token with a throw-away session key; `reported`: the token's mechanism list says so. */
  readonly evidence: 'probed' | 'reported';
  /** What is missing (`CKM_AES_GCM is not in the token's mechanism list`), or a remark; `null` when there is nothing to say. */
  readonly reason: string | null;
}

/** What one token is and can do, as found out at connection. */
export interface KeyStoreCapabilities {
  readonly profile: string;
  readonly library: {
    readonly path: string;
    readonly description: string;
    readonly version: string;
    readonly cryptoki: string;
  };
  readonly token: {
    readonly label: string;
    readonly serial: string;
    readonly manufacturer: string;
    readonly model: string;
  };
  readonly mechanisms: readonly string[];
  readonly capabilities: readonly Capability[];
}

export interface KeyStoreStatus {
  readonly name: string;
  /** `pinRefused` ends only by `reconnect()`, an operator's act. */
  readonly state: 'connecting' | 'connected' | 'reconnecting' | 'pinRefused' | 'closed';
  readonly hosts: number;
  readonly lanes: number;
  /** Hosts replaced since start, with the reason of the last replacement. */
  readonly restarts: number;
  readonly lastFailure: string | null;
  readonly inFlight: number;
  readonly pids: readonly number[];
}

export interface KeyStore {
  readonly name: string;
  status(): KeyStoreStatus;
  /** What was found out at the last connection. Throws `unavailable` when there never was one. */
  capabilities(): KeyStoreCapabilities;
  /** Begins again after `pinRefused`. Called only when a human asked for it. */
  reconnect(): Promise<void>;

  /** `lengthBytes` (1 to 1,024) from the HSM's random generator. Repeatable. */
  random(request: { readonly lengthBytes: number }): Promise<Plaintext>;

  /**
   * Generates a token object and reads its attributes back. A key whose protection is weaker than asked is destroyed and
   * the call fails with `internal`. Not repeatable.
   * @param request.label At most 100 bytes of ASCII; shown to operators, never used as identity.
   */
  generateKey(request: {
    readonly backingKeyId: BackingKeyId;
    readonly label: string;
    readonly keySpec: KeySpec;
    readonly keyUsage: KeyUsage;
  }): Promise<BackingKeyAttributes>;
  /** Destroys the object in every lane's view. Succeeds when there is no such object. */
  destroyKey(request: { readonly backingKeyId: BackingKeyId }): Promise<void>;
  describeKey(request: { readonly backingKeyId: BackingKeyId }): Promise<BackingKeyAttributes>;
  /** All key objects on the token whose label begins with `drawbridge:`. */
  listKeys(): Promise<readonly { readonly backingKeyId: BackingKeyId; readonly label: string }[]>;

  /** AES-256-GCM with a fresh 96-bit IV from the HSM. `ciphertext` is the ciphertext with the 16-byte tag appended. */
  encrypt(request: {
    readonly backingKeyId: BackingKeyId;
    readonly aad: Buffer;
    readonly plaintext: Plaintext;
  }): Promise<{ readonly iv: Buffer; readonly ciphertext: Buffer }>;
  /** The reverse; a ciphertext that does not verify fails with `ciphertextInvalid`. Repeatable. */
  decrypt(request: {
    readonly backingKeyId: BackingKeyId;
    readonly aad: Buffer;
    readonly iv: Buffer;
    readonly ciphertext: Buffer;
  }): Promise<Plaintext>;
  /** `random` and `encrypt` of the result in one round trip. */
  generateDataKey(request: {
    readonly backingKeyId: BackingKeyId;
    readonly aad: Buffer;
    readonly lengthBytes: number;
  }): Promise<{ readonly plaintext: Plaintext; readonly iv: Buffer; readonly ciphertext: Buffer }>;
  /** As `generateDataKey`; the data key never leaves the HSM host. */
  generateDataKeyWithoutPlaintext(request: {
    readonly backingKeyId: BackingKeyId;
    readonly aad: Buffer;
    readonly lengthBytes: number;
  }): Promise<{ readonly iv: Buffer; readonly ciphertext: Buffer }>;
  /** HMAC-SHA-256 (32 bytes) of `data` under an `HMAC_256` key. Repeatable. */
  mac(request: { readonly backingKeyId: BackingKeyId; readonly data: Buffer }): Promise<Buffer>;

  /** Ends the hosts after the calls in flight. */
  close(): Promise<void>;
}
