/** What a token was found to enforce, and to be able to wrap. */

import type { KeySpec } from '../kms/key-specs.ts';

/** One line of which keys can live outside of the token: a KeySpec, and why (not). */
export interface WrappingCapability {
  readonly keySpec: KeySpec;
  readonly works: boolean;
  /** What is missing; `null` when there is nothing to say. */
  readonly reason: string | null;
}

/** The trial that shows whether keys with `CKA_WRAP_WITH_TRUSTED` leave under other keys than the security officer trusted. */
export const wrapsUnderUntrusted = 'wrap the domain key under a key that nobody trusted';

/** What must fail, tried once on a token. */
export interface ProtectionTrial {
  /** In words: `read the value of a key that is sensitive`. */
  readonly attempt: string;
  /** Did the token refuse it, or do it without the effect? */
  readonly isHeld: boolean;
  /** Does the vendor profile say so, or does everything else rest on it? */
  readonly isPromised: boolean;
  /** What the token answered: `CKR_KEY_UNEXTRACTABLE`, or `done`. */
  readonly answer: string;
}

/**
 * What a token tells of a key, with `wrapWithTrusted` false where that was found to hold nothing back. Each HSM answers for the keys in
 * it: of several in one key store another one may let them go, and has copies of its own.
 */
export function asEnforced<Attributes extends { readonly wrapWithTrusted: boolean }>(
  attributes: Attributes,
  protection: readonly ProtectionTrial[],
): Attributes {
  const isHeld = protection.some((trial) => trial.attempt === wrapsUnderUntrusted && trial.isHeld);
  return { ...attributes, wrapWithTrusted: attributes.wrapWithTrusted && isHeld };
}
