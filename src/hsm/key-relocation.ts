/** What a key store does for keys that get another place: a part of `KeyStore`. */

import type { KeySpec, KeyUsage } from '../kms/key-specs.ts';
import type { BackingKeyId } from '../kms/names.ts';
import type { BackingKeyReference, NewWrappedKey, WrappedKey } from './wrapped-key.ts';

export interface KeyRelocation {
  /**
   * Wraps a key that is there, a token object or a wrapped one, under a domain key, after what comes out of the blob has done what the key
   * is for. The key stays as it is, and nothing else is left in the token. A key that the token keeps from that is `unsupported`, with
   * the attribute that says so. Repeatable.
   * @param request.publicKey SubjectPublicKeyInfo in DER, of a pair; `null` for a secret key.
   */
  wrapKey(
    request: BackingKeyReference & {
      readonly domainKeyId: BackingKeyId;
      readonly keySpec: KeySpec;
      readonly keyUsage: KeyUsage;
      readonly publicKey: Buffer | null;
    },
  ): Promise<NewWrappedKey>;
  /**
   * Makes a token object (a pair: both halves) of a wrapped key, with the id of the backing key, sensitive and not extractable. What has
   * this id already and is this key is kept as it is; what is another key fails with `internal`. A token that makes none of what it
   * unwraps is `unsupported`. May be repeated: twice is once.
   */
  keepWrappedKey(request: {
    readonly backingKeyId: BackingKeyId;
    readonly wrapped: WrappedKey;
    readonly label: string;
  }): Promise<void>;
  /**
   * Has each HSM of it that is there unwrap a wrapped key once, before others rely on that; nothing of the key stays. One that does
   * not answer is asked when the key is used.
   * @throws KeyStoreError `keyUnavailable` with what is in the way, where one of them does not open it.
   */
  assertOpens(wrapped: WrappedKey): Promise<void>;
}
