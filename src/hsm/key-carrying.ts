/**
 * Carrying keys of a domain from one HSM into another: domain keys and service keys, and no others. How, and what is believed
 * of it: `host/calls/carried-keys.ts`.
 */

import type { KeySpec, KeyUsage } from '../kms/key-specs.ts';
import type { BackingKeyId } from '../kms/names.ts';

/** The label of every joining pair begins so, and of what a security officer trusted of it in another HSM. */
export const joiningKeyLabelPrefix = 'drawbridge:joining:';

/** The paddings in which a key is carried, the better one first. */
export const carryingPaddings = ['RSAES_OAEP_SHA_256', 'RSAES_OAEP_SHA_1'] as const;
export type CarryingPadding = (typeof carryingPaddings)[number];

/**
 * Those in which a token wraps and unwraps keys by itself, the better one first. One whose host removes the padding does not, and says so in
 * a remark. SHA-1 in OAEP is not weaker for it: what is asked of the hash there is no resistance to collisions.
 */
export function paddingsOf(keyStore: Capable): readonly CarryingPadding[] {
  const { imports } = keyStore.capabilities();
  return carryingPaddings.filter((name) =>
    imports.some(({ subject, works, reason }) => subject === name && works && reason === null),
  );
}

/** Those of all of them. What a key store of several members says of itself does not tell: one of them may do it by another way. */
export function commonPaddings(keyStores: readonly Capable[]): readonly CarryingPadding[] {
  return carryingPaddings.filter((name) => keyStores.every((keyStore) => paddingsOf(keyStore).includes(name)));
}

interface Capable {
  capabilities(): { readonly imports: readonly ImportRow[] };
}

/** Of `ImportCapability`. */
interface ImportRow {
  readonly subject: string;
  readonly works: boolean;
  readonly reason: string | null;
}

/** A key of a domain, and what it does: so whoever gets it knows it again. */
export interface CarriedKey {
  readonly backingKeyId: BackingKeyId;
  /** Of a domain key or of a service key; it gets it in every HSM. */
  readonly label: string;
  /** Of a domain key, what any secret key of its type is. */
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  /** What the domain is called wherever its keys are. */
  readonly domainId: string;
  /** What the key makes of `proofInput`. */
  readonly proof: Buffer;
}

/**
 * What a key is tried with. It is bound to the domain, the key and its label, and begins like nothing else that these keys compute: what they
 * make of it is no record's MAC, derives no key and opens no secret.
 */
export function proofInput({ domainId, backingKeyId, label }: Omit<CarriedKey, 'proof'>): Buffer {
  return Buffer.from(`drawbridge/key-of-a-domain/1\0${domainId}\0${backingKeyId}\0${label}`);
}

export interface KeyCarrying {
  /**
   * In the newcomer: generates the pair that takes keys in, as token objects; `destroyKey` ends it. Not repeatable.
   * @param request.label Begins with `joiningKeyLabelPrefix`.
   * @returns SubjectPublicKeyInfo, DER.
   */
  generateJoiningPair(request: {
    readonly backingKeyId: BackingKeyId;
    readonly label: string;
    readonly padding: CarryingPadding;
  }): Promise<Buffer>;
  /**
   * In a member: wraps a key of the domain under a newcomer's public key. Fails with `unsupported` where the token lets nothing go, or
   * where its security officer did not trust that key. Repeatable.
   * @param request.trustedKeyId `CKA_ID` of what he trusted; not looked at by a token that does not hold to it.
   */
  give(request: {
    readonly backingKeyId: BackingKeyId;
    readonly publicKey: Buffer;
    readonly trustedKeyId: BackingKeyId;
    readonly padding: CarryingPadding;
  }): Promise<Buffer>;
  /**
   * In the newcomer: unwraps it, and holds it to its proof; keeps it as a token object if `keep` says so. One that is there already stays,
   * if it is this one. What was wrapped for another pair fails with `ciphertextInvalid`, another key with `materialInvalid`. May be
   * repeated: twice is once.
   */
  receive(request: {
    readonly key: CarriedKey;
    readonly joiningKeyId: BackingKeyId;
    readonly wrapped: Buffer;
    readonly padding: CarryingPadding;
    readonly keep: boolean;
  }): Promise<void>;
}
