/**
 * What the rest of the API process knows of an HSM: a key store, in the HSM's own domain and without PKCS#11.
 *
 * A backing key is a token object, named by its `BackingKeyId` (its `CKA_ID`), or lives outside of the token, wrapped, and comes along
 * with each call (`BackingKeyReference`); what a call does is the same either way. Failures are `KeyStoreError`s with one
 * of a closed set of reasons, so that whoever calls can decide; their messages are for operators and carry no secret,
 * no PIN and no handle.
 */

import type { KeySpec, KeyUsage } from '../kms/key-specs.ts';
import type { BackingKeyId } from '../kms/names.ts';
import type { Plaintext } from '../secrets/secret-bytes.ts';
import type { KeyCarrying } from './key-carrying.ts';
import type { KeyRelocation } from './key-relocation.ts';
import type { KeyStoreStatus } from './key-store-status.ts';
import type { ProtectionTrial, WrappingCapability } from './token-protection.ts';
import type { BackingKeyReference, NewWrappedKey } from './wrapped-key.ts';

export type { KeyStoreStatus, MemberStatus } from './key-store-status.ts';

/** Why a call to a key store failed. Order: the caller's fault, the key's, the token's, ours. */
export type KeyStoreFailure =
  /** The ciphertext, tag or AAD does not belong together; nothing else is said about why. */
  | 'ciphertextInvalid'
  /** The peer's public key is not a point on the curve of the key. */
  | 'publicKeyInvalid'
  /** What was unwrapped is not key material of the KeySpec, or not the material that was expected; the message tells no value of it. */
  | 'materialInvalid'
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
  /** The same of a key store that may be away while the others serve: its keys are unavailable until it is back. */
  | 'away'
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

/** How key material that is brought here is wrapped: under an RSA public key, or under an AES-256 key that is. */
export const wrappingAlgorithms = [
  'RSAES_OAEP_SHA_1',
  'RSAES_OAEP_SHA_256',
  'RSA_AES_KEY_WRAP_SHA_1',
  'RSA_AES_KEY_WRAP_SHA_256',
] as const;
export type WrappingAlgorithm = (typeof wrappingAlgorithms)[number];

export const wrappingKeySpecs = ['RSA_2048', 'RSA_3072', 'RSA_4096'] as const;
export type WrappingKeySpec = (typeof wrappingKeySpecs)[number];

/**
 * The label of every wrapping pair begins so, and no other key's does: the host refuses to generate or import under it. Such a pair
 * unwraps and does nothing else for anybody, whatever the token would let it.
 */
export const wrappingKeyLabelPrefix = 'drawbridge:wrapping:';

/** The label of every domain key begins so, and no other key's does. Such a key wraps other keys and does nothing else. */
export const domainKeyLabelPrefix = 'drawbridge:domain:';

/** The label of every service key begins so: one that Drawbridge keeps in the HSM for itself, and that callers never see. */
export const serviceKeyLabelPrefix = 'drawbridge:service:';

/** The label of every mark begins so, by which a member of a key store is told from the others. Such a key is in one HSM and goes nowhere. */
export const markLabelPrefix = 'drawbridge:member:';

/** Key material on its way in. */
export interface WrappedMaterial {
  /** The wrapping pair that `generateWrappingKey` made. */
  readonly wrappingKeyId: BackingKeyId;
  readonly wrappingAlgorithm: WrappingAlgorithm;
  /**
   * OAEP's ciphertext, as long as the modulus, of the material or, for `RSA_AES_KEY_WRAP_…`, of an AES-256 key; behind the latter
   * the material wrapped under it (RFC 5649). The material is the secret itself, or a private key as PKCS#8 in DER.
   */
  readonly wrapped: Buffer;
  /** Of the KMS key that the material is for: the fingerprint is bound to it. */
  readonly keyIdDigits: string;
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
}

/** What the HSM says about a key object, read back from it. */
export interface BackingKeyAttributes {
  readonly backingKeyId: BackingKeyId;
  readonly label: string;
  /** `CKO_SECRET_KEY`, `CKO_PRIVATE_KEY`. */
  readonly objectClass: string;
  /** `CKK_AES`, `CKK_GENERIC_SECRET`, … */
  readonly keyType: string;
  /** `null` where the token does not tell it, as SoftHSM2 of a secret that was unwrapped. */
  readonly keyBits: number | null;
  readonly token: boolean;
  readonly private: boolean;
  readonly sensitive: boolean;
  readonly alwaysSensitive: boolean;
  readonly extractable: boolean;
  readonly neverExtractable: boolean;
  /** It leaves, if at all, only under a key that the security officer trusted. */
  readonly wrapWithTrusted: boolean;
  readonly modifiable: boolean;
  readonly local: boolean;
  /** The usage attributes that are true: `CKA_ENCRYPT`, `CKA_DECRYPT`, … */
  readonly usages: readonly string[];
}

/** A key that was just made. */
export interface GeneratedKey extends BackingKeyAttributes {
  /** The public half of a pair as an X.509 SubjectPublicKeyInfo in DER; `null` for a secret key. */
  readonly publicKey: Buffer | null;
}

/** What `sign` is given: the message itself or its digest. PKCS#11 3.2 signs no mu of ML-DSA that somebody else computed. */
export type SignedContent = 'RAW' | 'DIGEST';

/** Stands among the names of algorithms for the making of the key. */
export const keyGeneration = 'KEY_GENERATION';

/** One line of what a token can do: an algorithm of a KeySpec, and why (not). */
export interface Capability {
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  /** KMS's name of the algorithm (`SYMMETRIC_DEFAULT`, `RSASSA_PSS_SHA_256`), or `keyGeneration`. */
  readonly algorithm: string;
  readonly works: boolean;
  /** `probed`: done once on this token with a throw-away session key; `reported`: the token's mechanism list says so. */
  readonly evidence: 'probed' | 'reported';
  /** What is missing (`CKM_AES_GCM is not in the token's mechanism list`), or a remark; `null` when there is nothing to say. */
  readonly reason: string | null;
}

/** One line of which key material can be brought into a token: a way of wrapping, or a KeySpec, and why (not). */
export interface ImportCapability {
  readonly subject: WrappingAlgorithm | KeySpec;
  readonly works: boolean;
  readonly evidence: 'probed' | 'reported';
  /** What is missing, or how it is done; `null` when there is nothing to say. */
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
  /**
   * How long the way to the token and back takes: the shorter of two calls of `C_OpenSession` when the host connected. Some
   * microseconds in software, some milliseconds to an HSM on the network.
   */
  readonly roundTripMs: number;
  readonly capabilities: readonly Capability[];
  readonly imports: readonly ImportCapability[];
  readonly wrapping: readonly WrappingCapability[];
  readonly protection: readonly ProtectionTrial[];
}

export interface KeyStore extends KeyRelocation {
  readonly name: string;
  /** How many keys it generates side by side, at most. */
  readonly generationsAtOnce: number;
  /** Keys of a domain on their way between HSMs. */
  readonly carrying: KeyCarrying;
  status(): KeyStoreStatus;
  /** Is what this key needs away, while the key store serves others? As far as that is known without a look into a token. */
  isKeyAway(key: BackingKeyReference): boolean;
  /** What was found out at the last connection. Throws `unavailable` when there never was one. */
  capabilities(): KeyStoreCapabilities;
  /** Begins again after `pinRefused`. Called only when a human asked for it. */
  reconnect(): Promise<void>;

  /** `lengthBytes` (1 to 1,024) from the HSM's random generator. Repeatable. */
  random(request: { readonly lengthBytes: number }): Promise<Plaintext>;

  /**
   * Generates a token object, or a pair of them, and reads the attributes back, those of the private half for a pair. A key
   * whose protection is weaker than asked, or a pair whose halves do not belong together, is destroyed and the call fails with `internal`. What the token cannot do is
   * `unsupported`, with what is missing. Not repeatable.
   * @param request.label At most 100 bytes of ASCII; shown to operators, never used as identity.
   */
  generateKey(request: {
    readonly backingKeyId: BackingKeyId;
    readonly label: string;
    readonly keySpec: KeySpec;
    readonly keyUsage: KeyUsage;
  }): Promise<GeneratedKey>;
  /** Destroys the object, or both halves of a pair, in every lane's view. Succeeds when there is no such object. */
  destroyKey(request: { readonly backingKeyId: BackingKeyId }): Promise<void>;
  /**
   * Generates an RSA pair that unwraps key material and is for nothing else, as token objects; `destroyKey` ends it. Not repeatable.
   * @param request.label Begins with `wrappingKeyLabelPrefix`.
   */
  generateWrappingKey(request: {
    readonly backingKeyId: BackingKeyId;
    readonly label: string;
    readonly wrappingKeySpec: WrappingKeySpec;
  }): Promise<{ /** SubjectPublicKeyInfo, DER. */ readonly publicKey: Buffer }>;
  /**
   * Unwraps key material, holds it to its KeySpec, and lets it go again: nothing is left in the token. What cannot be unwrapped fails with
   * `ciphertextInvalid`, whatever is wrong with it; what is not material of the KeySpec with `materialInvalid`. Repeatable.
   * @returns `fingerprint` has 32 bytes: the same for the same material and `keyIdDigits`, on every token, and no other. It tells
   * nobody the material, but a secret that can be guessed could be tried against it. `publicKey` is that of a pair.
   */
  examineImport(request: WrappedMaterial): Promise<{ readonly fingerprint: Buffer; readonly publicKey: Buffer | null }>;
  /**
   * Unwraps key material into a token object (a pair: both halves) that is sensitive and not extractable, after the checks of
   * `examineImport`. Material with another fingerprint fails with `materialInvalid`, and so does an object with this `CKA_ID` that
   * is there already and is another key; one that is this key is kept as it is. May be repeated: twice is once.
   */
  importKey(
    request: WrappedMaterial & {
      readonly backingKeyId: BackingKeyId;
      readonly label: string;
      readonly fingerprint: Buffer;
    },
  ): Promise<GeneratedKey>;
  /** `wrapWithTrusted` as far as the token that answers holds to it. */
  describeKey(request: BackingKeyReference): Promise<BackingKeyAttributes>;

  /**
   * Generates a domain key as a token object, and tries that the token refuses what such a key must not do; `destroyKey` ends it. Not
   * repeatable.
   * @param request.label Begins with `domainKeyLabelPrefix`.
   */
  generateDomainKey(request: {
    readonly backingKeyId: BackingKeyId;
    readonly label: string;
  }): Promise<BackingKeyAttributes>;
  /**
   * Generates a key and wraps it under a domain key, after what comes out of the blob has done what the key is for. Nothing is left in the
   * token. What it cannot wrap is `unsupported`, with what is missing. Repeatable: each time it is another key.
   */
  generateWrappedKey(request: {
    readonly domainKeyId: BackingKeyId;
    readonly keySpec: KeySpec;
    readonly keyUsage: KeyUsage;
  }): Promise<NewWrappedKey>;
  /** As `importKey`, into a blob: key material is opened, held to its KeySpec and fingerprint, and wrapped. Nothing is left in the token. */
  importWrappedKey(
    request: WrappedMaterial & { readonly domainKeyId: BackingKeyId; readonly fingerprint: Buffer },
  ): Promise<NewWrappedKey>;
  /**
   * Ends the use of a wrapped key: resolves when no call is under way with it, and no lane has it any more. Whoever calls this has seen to
   * it that no new call comes (`ended-keys.ts`).
   */
  forgetWrappedKey(request: { readonly backingKeyId: BackingKeyId }): Promise<void>;
  /** All key objects on the token whose label begins with `drawbridge:`. */
  listKeys(): Promise<readonly { readonly backingKeyId: BackingKeyId; readonly label: string }[]>;

  /** AES-256-GCM with a fresh 96-bit IV from the HSM. `ciphertext` is the ciphertext with the 16-byte tag appended. */
  encrypt(
    request: BackingKeyReference & {
      readonly aad: Buffer;
      readonly plaintext: Plaintext;
    },
  ): Promise<{ readonly iv: Buffer; readonly ciphertext: Buffer }>;
  /** The reverse; a ciphertext that does not verify fails with `ciphertextInvalid`. Repeatable. */
  decrypt(
    request: BackingKeyReference & {
      readonly aad: Buffer;
      readonly iv: Buffer;
      readonly ciphertext: Buffer;
    },
  ): Promise<Plaintext>;
  /** `random` and `encrypt` of the result in one round trip. */
  generateDataKey(
    request: BackingKeyReference & {
      readonly aad: Buffer;
      readonly lengthBytes: number;
    },
  ): Promise<{ readonly plaintext: Plaintext; readonly iv: Buffer; readonly ciphertext: Buffer }>;
  /** As `generateDataKey`; the data key never leaves the HSM host. */
  generateDataKeyWithoutPlaintext(
    request: BackingKeyReference & {
      readonly aad: Buffer;
      readonly lengthBytes: number;
    },
  ): Promise<{ readonly iv: Buffer; readonly ciphertext: Buffer }>;
  /**
   * Makes a key pair in the HSM, as session objects that may leave it, and encrypts the private key under a symmetric
   * backing key in the same call, as `encrypt` does. The private key is PKCS#8 in DER, the public one SubjectPublicKeyInfo.
   * A curve that the token lacks is `unsupported`.
   * @param request.keyPairSpec KMS's name: `RSA_2048`, `ECC_NIST_P256`, `ECC_NIST_EDWARDS25519`, …
   */
  generateDataKeyPair(
    request: BackingKeyReference & {
      readonly aad: Buffer;
      readonly keyPairSpec: string;
      /** Without it the private key in the clear never leaves the HSM host, and `plaintext` is `null`. */
      readonly withPlaintext: boolean;
    },
  ): Promise<{
    readonly publicKey: Buffer;
    readonly iv: Buffer;
    readonly ciphertext: Buffer;
    readonly plaintext: Plaintext | null;
  }>;

  /** The MAC of `data` (1 byte or more): 28, 32, 48 or 64 bytes for `HMAC_SHA_224`, `_256`, `_384`, `_512`. Repeatable. */
  mac(
    request: BackingKeyReference & {
      readonly algorithm: string;
      readonly data: Buffer;
    },
  ): Promise<Buffer>;
  /**
   * The MACs of several messages, each as `mac` has it, in their order and for little more than what the token takes. For our
   * own records, never for what callers ask for: waits neither for keys that are being generated, where there is a lane that never
   * generates, nor for the calls of others that wait. Repeatable.
   */
  macs(
    request: BackingKeyReference & {
      readonly algorithm: string;
      readonly messages: readonly Buffer[];
    },
  ): Promise<readonly Buffer[]>;
  /** Is this the MAC of `data`? Takes the same time whatever is wrong with it. Repeatable. */
  verifyMac(
    request: BackingKeyReference & {
      readonly algorithm: string;
      readonly data: Buffer;
      readonly mac: Buffer;
    },
  ): Promise<boolean>;

  /**
   * Signs with the private half of a pair: PKCS#1 v1.5 and PSS (salt as long as the hash) for RSA, as long as the modulus;
   * a DER `ECDSA-Sig-Value` for ECDSA; 64 bytes for Ed25519; 2,420, 3,309 or 4,627 for ML-DSA (empty context). Repeatable.
   * @param request.algorithm KMS's name: `RSASSA_PSS_SHA_256`, `ECDSA_SHA_384`, `ED25519_SHA_512`, …
   * @param request.message What `content` says. For algorithms that begin with a hash it is the digest, whoever computed it.
   */
  sign(
    request: BackingKeyReference & {
      readonly algorithm: string;
      readonly content: SignedContent;
      readonly message: Buffer;
    },
  ): Promise<Buffer>;

  /**
   * `RSAES_OAEP_SHA_1` or `RSAES_OAEP_SHA_256` with the private half of a pair. Whatever is wrong with the ciphertext fails with
   * `ciphertextInvalid`. Repeatable.
   */
  decryptAsymmetric(
    request: BackingKeyReference & {
      readonly algorithm: string;
      readonly ciphertext: Buffer;
    },
  ): Promise<Plaintext>;

  /**
   * ECDH: the x coordinate of the shared point, as long as the curve's field (32, 48, 66 bytes).
   * @param request.publicKey The peer's, as SubjectPublicKeyInfo in DER. One that is not on the key's curve fails with
   * `publicKeyInvalid`, and the token never sees it. Repeatable.
   */
  deriveSharedSecret(request: BackingKeyReference & { readonly publicKey: Buffer }): Promise<Plaintext>;

  /**
   * Before the end: gives up what generates keys, which may take minutes. Calls that do fail with `unavailable`, at once and from now
   * on; everything else goes on. What they may have made in the token can be destroyed as soon as another host is connected.
   * @param because For operators.
   */
  stopGenerating(because: string): void;
  /** Ends the hosts after the calls in flight. */
  close(): Promise<void>;
}
