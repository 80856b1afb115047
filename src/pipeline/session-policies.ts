/**
 * Policies that sessions of roles have of their own, in the form that decides.
 *
 * They come with each request, in its session token, and are compiled when they are first seen. So many are kept as the memory for
 * them has room for, those that were seen last; whoever makes more of them has them compiled anew, at the cost of his own requests
 * (measured: 50 µs for a usual one, 0.5 ms for the dearest of 2,048 characters; 0.5 µs for one that is kept).
 */

import type { WeighedPolicy } from '../authorization/language/compiled-policy.ts';
import { compileSessionPolicy } from '../authorization/language/policy-document.ts';
import type { Caller } from '../identity/caller.ts';
import { maxSessionPolicyBytes } from '../kms/budgets.ts';
import type { Account } from '../kms/names.ts';
import { conditionVocabulary } from './condition-key-table.ts';

export class SessionPolicies {
  readonly #realm: Account;
  /** By text, the one that was seen last at the end. */
  readonly #known = new Map<string, { readonly policy: WeighedPolicy; readonly bytes: number }>();
  #bytes = 0;

  constructor(realm: Account) {
    this.#realm = realm;
  }

  /** `undefined`: he is in no session, or it has no policy of its own. */
  of({ proof }: Caller): WeighedPolicy | undefined {
    const text = proof.kind === 'sigv4' ? proof.session?.policy : undefined;
    if (text === undefined) return undefined;
    const known = this.#known.get(text);
    if (known !== undefined) {
      this.#known.delete(text);
      this.#known.set(text, known);
      return known.policy;
    }
    const policy = compileSessionPolicy(text, this.#realm, conditionVocabulary);
    // What it remembers of answers has a bound of its own, which is counted from the beginning.
    const bytes = policy.maxBytes;
    this.#known.set(text, { policy, bytes });
    this.#bytes += bytes;
    this.#makeRoom(text);
    return policy;
  }

  get bytes(): number {
    return this.#bytes;
  }

  #makeRoom(kept: string): void {
    for (const [text, { bytes }] of this.#known) {
      if (this.#bytes <= maxSessionPolicyBytes || text === kept) return;
      this.#known.delete(text);
      this.#bytes -= bytes;
    }
  }
}
