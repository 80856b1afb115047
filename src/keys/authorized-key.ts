/**
 * Permission to use a key, as a value.
 *
 * INVARIANT: an `AuthorizedKey` exists only for a key, an action and a caller that the authorization decision allowed.
 * The pipeline keeps it: `authorizeKey` is the only maker, and the test of the import rules lets only
 * `operations/pipeline.ts` import it. Whatever reaches a key in the HSM takes an `AuthorizedKey` and nothing weaker, so
 * an operation that forgot to ask for permission does not compile.
 */

import type { KmsKey } from './kms-key.ts';

let makeAuthorizedKey: (key: KmsKey, action: string) => AuthorizedKey;

export class AuthorizedKey {
  readonly #key: KmsKey;
  /** The action that was allowed, for example `kms:Encrypt`. */
  readonly action: string;

  private constructor(key: KmsKey, action: string) {
    this.#key = key;
    this.action = action;
  }

  get key(): KmsKey {
    return this.#key;
  }

  static #make(key: KmsKey, action: string): AuthorizedKey {
    return new AuthorizedKey(key, action);
  }

  static {
    makeAuthorizedKey = AuthorizedKey.#make;
  }
}

/** Only the pipeline calls this, after the decision. */
export function authorizeKey(key: KmsKey, action: string): AuthorizedKey {
  return makeAuthorizedKey(key, action);
}
