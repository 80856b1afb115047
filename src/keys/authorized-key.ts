/**
 * Permission to use a key, as a value.
 *
 * INVARIANT: an `AuthorizedKey` exists only for a key on which the authorization decision allowed a caller an action.
 * The pipeline keeps it: `authorizeKey` is the only maker, and the test of the import rules lets only
 * `pipeline/authorization.ts` import it. Whatever reaches a key in the HSM takes an `AuthorizedKey` and nothing weaker, so
 * an operation that forgot to ask for permission does not compile. Which action it was is not checked again: that an
 * operation does what it asked to be allowed stands in its one file.
 */

import { type Change, replaced } from '../store/records/changes.ts';
import type { KeyRecord } from '../store/records/records.ts';
import { type BackingKey, currentBackingKeyOf, type KmsKey } from './kms-key.ts';

/** What a change of a key can be about: what names it stays, and its version is the store's. */
type KeyMembers = Partial<Omit<KeyRecord, 'version' | 'region' | 'keyId'>>;
type MemberOfKey<Name> = Name extends keyof KeyMembers ? unknown : never;

let makeAuthorizedKey: (key: KmsKey) => AuthorizedKey;

export class AuthorizedKey {
  readonly #key: KmsKey;

  private constructor(key: KmsKey) {
    this.#key = key;
  }

  get key(): KmsKey {
    return this.#key;
  }

  /** What the key is used with. Throws as `currentBackingKeyOf`. */
  get material(): BackingKey {
    return currentBackingKeyOf(this.#key);
  }

  /**
   * The change that gives the key's record other members, and leaves it all others as they are now. It was decided on the key
   * as it is here: where the key was changed since, the store refuses it.
   * @param members Those that change and no whole record: one that was kept from before the turn would put all of it back.
   */
  with<Given extends KeyMembers>(members: Given & { readonly [Name in keyof Given]: MemberOfKey<Name> }): Change {
    return replaced('key', this.#key.record, members);
  }

  /** The change that puts another key policy. */
  withPolicy(document: string): Change {
    return replaced('keyPolicy', this.#key.policyRecord, { document });
  }

  static #make(key: KmsKey): AuthorizedKey {
    return new AuthorizedKey(key);
  }

  static {
    makeAuthorizedKey = AuthorizedKey.#make;
  }
}

/** Only the pipeline calls this, after the decision. */
export function authorizeKey(key: KmsKey): AuthorizedKey {
  return makeAuthorizedKey(key);
}
