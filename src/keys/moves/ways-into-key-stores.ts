/**
 * How key material comes into a key store wrapped, from another one or from its own token: no key is in the clear on its way, and nobody sees one.
 *
 * Into another key store it comes in the first of these ways that there is. Which domain keys a key store has is on record (`keys/domain/adoption.ts`).
 *
 *     asItIs      the other one has the domain key that it is under: only the record changes
 *     bySource    the first one has the domain key of the other, and lets keys out: its token wraps it anew under that
 *
 * What left the domain of the first one gets nothing of it, though it has some of its domain keys still.
 *
 * A token that holds to `CKA_EXTRACTABLE` (SoftHSM2) wraps nothing anew. Under which domain keys copies of the metadata from before have it is on record
 * afterwards (`DomainKeys.formerlyOf`), so that its deletion can tell.
 */

import type { KeyStore, KeyStoreCapabilities } from '../../hsm/key-store.ts';
import type { BackingKeyId } from '../../kms/names.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import { referenceOf } from '../backing-key-reference.ts';
import type { KmsKey } from '../kms-key.ts';
import type { DomainKeys } from '../life/domain-keys.ts';
import { hasLeftDomainOf } from '../life/parted-domains.ts';
import { hasLeft, notJoined, type PlannedMove, unmovable, whyNotWrappedAgain } from './move-plan.ts';

/** Where material lives, as its record says it. */
export type Place = Pick<
  BackingKeyRecord,
  'keyStore' | 'residency' | 'wrappedKey' | 'wrappedKeySpec' | 'wrappedKeyUsage'
> &
  Partial<Pick<BackingKeyRecord, 'domainKeyId'>>;

export interface MovedBlob {
  readonly wrappedKey: Buffer | null;
  readonly domainKeyId: BackingKeyId | null;
}

export function wrappedIn(
  keyStore: string,
  { record: { keySpec, keyUsage } }: KmsKey,
  { wrappedKey }: Pick<BackingKeyRecord, 'wrappedKey'>,
): Place {
  return { keyStore, residency: 'wrapped', wrappedKey, wrappedKeySpec: keySpec, wrappedKeyUsage: keyUsage };
}

export interface WaysParts {
  readonly domainKeys: Pick<DomainKeys, 'of' | 'holds' | 'newestOf' | 'current'>;
  /** @throws KmsError for one that the configuration does not name. */
  readonly keyStore: (name: string) => KeyStore;
  /** `undefined` for one that was never connected. */
  readonly capabilities: (name: string) => KeyStoreCapabilities | undefined;
}

export class WaysIntoKeyStores {
  readonly #parts: WaysParts;

  constructor(parts: WaysParts) {
    this.#parts = parts;
  }

  /**
   * How material is wrapped for another key store, also where it becomes an object of its token; `null` of what stays in its own.
   * @throws KmsError `UnsupportedOperationException` that says what is in the way.
   */
  of({ record, to, domainKeyId }: PlannedMove): WayIntoKeyStore | null {
    const { domainKeys, capabilities } = this.#parts;
    const { keyStore: from, state } = record;
    if (state !== 'Active' || to.keyStore === from) return null;
    if (hasLeftDomainOf(domainKeys, to.keyStore, from)) throw hasLeft(from, to.keyStore);
    const isShared = domainKeyId !== null && domainKeys.holds(to.keyStore, domainKeyId);
    if (isShared) return 'asItIs';
    const target = domainKeys.newestOf(to.keyStore);
    if (target === undefined || !domainKeys.holds(from, target)) throw notJoined(from, to.keyStore);
    const why = whyNotWrappedAgain(capabilities(from));
    if (why === null) return 'bySource';
    throw unmovable(
      `\`${from}\` has the domain key of \`${to.keyStore}\` and does not let the key out to be wrapped under it (${why}): ` +
        `have the token of \`${to.keyStore}\` join the domain of \`${from}\`, too, to take it as it is`,
    );
  }

  /** What the material is, wrapped for where it goes: as it is on record, or anew by its token. Nobody sees the key. */
  async blobFor(key: KmsKey, move: PlannedMove): Promise<MovedBlob> {
    const { record, to } = move;
    const by = this.#parts.keyStore(record.keyStore);
    if (this.of(move) !== 'bySource') return this.#blobOf(key, move, by);
    const domainKeyId = await this.#parts.domainKeys.current(to.keyStore, this.#parts.keyStore(to.keyStore));
    return this.#wrappedAnew(key, record, { by, domainKeyId });
  }

  /** As it is on record, or by the token that has it. */
  async #blobOf(key: KmsKey, move: PlannedMove, from: KeyStore): Promise<MovedBlob> {
    const { record } = move;
    const { wrappedKey, keyStore: name } = record;
    if (wrappedKey !== null && record.domainKeyId === move.domainKeyId)
      return { wrappedKey, domainKeyId: move.domainKeyId };
    const domainKeyId = move.domainKeyId ?? (await this.#parts.domainKeys.current(name, from));
    return this.#wrappedAnew(key, record, { by: from, domainKeyId });
  }

  async #wrappedAnew(
    { record: { keySpec, keyUsage } }: KmsKey,
    record: BackingKeyRecord,
    { by, domainKeyId }: { readonly by: KeyStore; readonly domainKeyId: BackingKeyId },
  ): Promise<MovedBlob> {
    const { publicKey } = record;
    const { blob } = await by.wrapKey({ ...referenceOf(record), domainKeyId, keySpec, keyUsage, publicKey });
    return { wrappedKey: blob, domainKeyId };
  }
}

/** How material is wrapped in another key store: as it is, or anew by the token from which it comes. */
type WayIntoKeyStore = 'asItIs' | 'bySource';
