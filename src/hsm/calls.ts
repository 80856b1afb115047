/**
 * The calls that travel on the pipe: their numbers, what they carry, and whether they may be repeated.
 *
 * This one table serves both ends. A call's fields are listed in order; `u32` is a 4-byte big-endian number, `id` the 16
 * bytes of a `CKA_ID`, `key` the same or a wrapped key (`wrapped-key.ts`), `utf8` and `json` text, `bytes` anything. A call that is `repeatable` leaves nothing behind in the
 * token, or the same however often it is made, so the API process sends it once more when its host died under it; the others fail then.
 */

import type { CarriedKey } from './key-carrying.ts';
import type { KeyStoreCapabilities, KeyStoreFailure, WrappedMaterial } from './key-store.ts';
import type { VendorProfile } from './vendor-profile.ts';

export interface Call {
  readonly number: number;
  /** The fields of the request, in order. */
  readonly request: readonly string[];
  /** The fields of a successful reply, in order. */
  readonly reply: readonly string[];
  readonly repeatable: boolean;
  /**
   * Makes or destroys token objects. A key store has one such call carried out at a time, over all its hosts: two processes
   * that change a token of SoftHSM2 2.6.1 at once may each fail, for ever, to see the other's key (measured).
   */
  readonly changesKeys?: true;
  /** Searches for primes, or has a slow card do it: has `generationDeadlineMs` to reply. */
  readonly generates?: true;
}

export const calls = {
  /**
   * The first frame on a lane. To a host's first lane: loads the library, finds the token, logs in (once), probes, and
   * enumerates the keys. `settings` is `OpenSettings` as JSON, without the PIN, which stands alone so that it can be wiped.
   */
  open: { number: 1, request: ['json settings', 'bytes pin'], reply: ['json capabilities'], repeatable: true },
  /** Answers at once: is the lane alive? */
  ping: { number: 2, request: [], reply: [], repeatable: true },
  random: { number: 3, request: ['u32 lengthBytes'], reply: ['bytes'], repeatable: true },
  generateKey: {
    number: 4,
    request: ['id', 'utf8 label', 'utf8 keySpec', 'utf8 keyUsage'],
    // The public key is a SubjectPublicKeyInfo in DER, empty for a secret key.
    reply: ['json attributes', 'bytes publicKey'],
    repeatable: false,
    changesKeys: true,
    generates: true,
  },
  destroyKey: { number: 5, request: ['id'], reply: [], repeatable: true, changesKeys: true },
  /** Drops what the lane remembers of a key (handle, session copy) after another lane destroyed it. */
  forgetKey: { number: 6, request: ['id'], reply: [], repeatable: true },
  describeKey: { number: 7, request: ['key'], reply: ['json attributes'], repeatable: true },
  /** One page, from entry `offset` of the sweep that `offset` 0 makes anew; `[]` is the end. */
  listKeys: { number: 8, request: ['u32 offset'], reply: ['json [{backingKeyId, label}]'], repeatable: true },
  encrypt: {
    number: 9,
    request: ['key', 'bytes aad', 'bytes plaintext'],
    reply: ['bytes iv', 'bytes ciphertext'],
    repeatable: true,
  },
  decrypt: {
    number: 10,
    request: ['key', 'bytes aad', 'bytes iv', 'bytes ciphertext'],
    reply: ['bytes plaintext'],
    repeatable: true,
  },
  generateDataKey: {
    number: 11,
    request: ['key', 'bytes aad', 'u32 lengthBytes'],
    reply: ['bytes iv', 'bytes ciphertext', 'bytes plaintext'],
    repeatable: true,
  },
  generateDataKeyWithoutPlaintext: {
    number: 12,
    request: ['key', 'bytes aad', 'u32 lengthBytes'],
    reply: ['bytes iv', 'bytes ciphertext'],
    repeatable: true,
  },
  mac: { number: 13, request: ['key', 'utf8 algorithm', 'bytes data'], reply: ['bytes mac'], repeatable: true },
  sign: {
    number: 14,
    request: ['key', 'utf8 algorithm', 'utf8 content', 'bytes message'],
    reply: ['bytes signature'],
    repeatable: true,
  },
  decryptAsymmetric: {
    number: 15,
    request: ['key', 'utf8 algorithm', 'bytes ciphertext'],
    reply: ['bytes plaintext'],
    repeatable: true,
  },
  deriveSharedSecret: { number: 16, request: ['key', 'bytes publicKey'], reply: ['bytes secret'], repeatable: true },
  /** `withPlaintext` is 1 or 0; the reply's last field is empty for 0. */
  generateDataKeyPair: {
    number: 17,
    request: ['key', 'bytes aad', 'utf8 keyPairSpec', 'u32 withPlaintext'],
    reply: ['bytes publicKey', 'bytes iv', 'bytes ciphertext', 'bytes plaintext'],
    repeatable: true,
    generates: true,
  },
  generateWrappingKey: {
    number: 18,
    request: ['id', 'utf8 label', 'utf8 wrappingKeySpec'],
    reply: ['bytes publicKey'],
    repeatable: false,
    changesKeys: true,
    generates: true,
  },
  /** `material` is a `MaterialOutline` as JSON. */
  examineImport: {
    number: 19,
    request: ['id wrappingKey', 'json material', 'bytes wrapped'],
    reply: ['bytes fingerprint', 'bytes publicKey'],
    repeatable: true,
  },
  /** What it finds done it leaves, so it may be repeated like a destruction. */
  importKey: {
    number: 20,
    request: ['id wrappingKey', 'json material', 'bytes wrapped', 'id', 'utf8 label', 'bytes fingerprint'],
    reply: ['json attributes', 'bytes publicKey'],
    repeatable: true,
    changesKeys: true,
  },
  /** `packed`: each message as its length (4 bytes, big-endian) and its bytes. The reply has their MACs, one behind the other. */
  macs: { number: 21, request: ['key', 'utf8 algorithm', 'bytes packed'], reply: ['bytes macs'], repeatable: true },
  generateDomainKey: {
    number: 22,
    request: ['id', 'utf8 label'],
    reply: ['json attributes'],
    repeatable: false,
    changesKeys: true,
  },
  generateWrappedKey: {
    number: 23,
    request: ['id domainKey', 'utf8 keySpec', 'utf8 keyUsage'],
    reply: ['bytes blob', 'bytes publicKey'],
    repeatable: true,
    generates: true,
  },
  importWrappedKey: {
    number: 24,
    request: ['id wrappingKey', 'json material', 'bytes wrapped', 'id domainKey', 'bytes fingerprint'],
    reply: ['bytes blob', 'bytes publicKey'],
    repeatable: true,
  },
  /** Of a key that is there, a token object or a wrapped one. `publicKey` is empty for a secret key. */
  wrapKey: {
    number: 25,
    request: ['key', 'id domainKey', 'utf8 keySpec', 'utf8 keyUsage', 'bytes publicKey'],
    reply: ['bytes blob', 'bytes publicKey'],
    repeatable: true,
  },
  /** A token object of a wrapped key. What it finds done it leaves. */
  keepWrappedKey: {
    number: 26,
    request: ['key', 'utf8 label'],
    reply: [],
    repeatable: true,
    changesKeys: true,
  },
  generateJoiningPair: {
    number: 27,
    request: ['id', 'utf8 label', 'utf8 padding'],
    reply: ['bytes publicKey'],
    repeatable: false,
    changesKeys: true,
    generates: true,
  },
  giveKey: {
    number: 28,
    request: ['id', 'bytes publicKey', 'id trustedKey', 'utf8 padding'],
    reply: ['bytes wrapped'],
    repeatable: true,
  },
  /** `key` is a `CarriedKeyOutline` as JSON, `keep` 1 or 0. What it finds done it leaves, so it may be repeated. */
  receiveKey: {
    number: 29,
    request: ['id joiningKey', 'json key', 'bytes wrapped', 'utf8 padding', 'u32 keep'],
    reply: [],
    repeatable: true,
    changesKeys: true,
  },
} as const satisfies Record<string, Call>;

export type CallName = keyof typeof calls;

/**
 * The messages of one `macs` at most: at 20 ms for each, which is what smart cards take, the lane is silent for 2.6 s, and a
 * call to it may take 10. More would not be cheaper: with 128 the pipe is 2 % of what they cost (SoftHSM2).
 */
export const maxMacsAtOnce = 128;
/** Of all messages of one `macs`, unless it is one message alone. */
export const maxMacsBytes = 64 * 1024;

/** What a host's own line on standard error begins with. A library that printed it would have that line logged, and no other. */
export const hostWords = 'HSM host: ';

/**
 * The code of a reply: 0, or why the call failed; its one field is then a message for operators. The first group is the
 * key store's own answer; the second is about the lane's connection and never reaches whoever called the key store.
 */
export const replyCodes = {
  success: 0,
  ciphertextInvalid: 1,
  keyUnavailable: 2,
  unsupported: 3,
  tokenFull: 4,
  busy: 5,
  internal: 6,
  publicKeyInvalid: 7,
  materialInvalid: 8,
  /** The session or the token is gone; the lane ends after this reply and the host wants replacing. */
  tokenGone: 16,
  /** `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`, …: nothing logs in again until a human says so. */
  pinRefused: 17,
  /** The token cannot be opened now: it is not there, or its library does not come up. Another attempt may succeed. */
  cannotOpen: 18,
  /** Whatever becomes of the token, library, profile or settings have to be others. */
  misconfigured: 19,
} as const satisfies Partial<Record<KeyStoreFailure, number>> & Record<string, number>;

/** What is said of a key of a domain beside its ciphertext; its proof is in base64. */
export type CarriedKeyOutline = Omit<CarriedKey, 'proof'> & { readonly proof: string };

/** What is said of key material beside its ciphertext. */
export type MaterialOutline = Pick<WrappedMaterial, 'wrappingAlgorithm' | 'keyIdDigits' | 'keySpec' | 'keyUsage'>;

/** What a host needs to know to connect; the vendor profile's values are already merged in. */
export interface HostSettings {
  readonly library: string;
  /** The token is found by one of these, never by its slot number. */
  readonly token: { readonly label: string } | { readonly serial: string };
  /** The name of the vendor profile: a file `native-config/vendors/NAME.yaml`, or an absolute path of one. */
  readonly profile: string;
  /** For `C_Initialize`'s reserved argument (NSS), or `null`. */
  readonly libraryParameters: string | null;
  readonly lanes: number;
}

/** What `open` brings: how to connect, and what need not be found out again. */
export interface OpenSettings extends HostSettings {
  /** What is in the profile. To read YAML takes a process 40 ms, a third of what it otherwise needs to start. */
  readonly vendorProfile: VendorProfile;
  /**
   * What an earlier host of the key store found. With the same token and library the host takes over its `protection`: to try what a
   * token must refuse leaves marks in some libraries (and may end them), and each host would find the same.
   */
  readonly formerly?: Pick<KeyStoreCapabilities, 'library' | 'token' | 'protection'> & {
    /**
     * There while that host, or another since, serves the token: with the same mechanisms this one takes over what each of them was found
     * to do, for half of the time that a host takes to connect goes into the probes. Whoever connects as the only one probes for itself,
     * because a token that was away may be another than it was in ways that it does not tell.
     */
    readonly probed?: Pick<KeyStoreCapabilities, 'mechanisms' | 'capabilities' | 'imports'>;
  };
}
