/**
 * The destruction of key material, and the proof that it is gone: a token object by asking the HSM, a wrapped key by overwriting what is left
 * of it in the file.
 *
 * A wrapped key's blob leaves its record in the turn that decides on its destruction, and from then on nobody can use it (`MaterialInUse.follow`).
 * Here it is taken from every lane that has unwrapped it, once no call is under way with it, and then from the file that the record was
 * in: from its free bytes and from the write-ahead log, which is what `scrub` sees to; of a token object that was wrapped once, likewise. It is
 * final against copies of that file from before only when its domain key is gone: whoever has such a copy and the HSM has the key.
 * Therefore the deletion says on record which domain keys those are.
 */

import { type KeyStore, KeyStoreError } from '../../hsm/key-store.ts';
import type { BackingKeyId, KeyId } from '../../kms/names.ts';
import type { MetadataStore } from '../../store/metadata-store.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import { nameInLanes } from '../backing-key-reference.ts';
import type { KeyDirectory } from '../key-directory.ts';

/** What has to go. Wrapping keys are token objects. */
export type Doomed = Pick<BackingKeyRecord, 'backingKeyId' | 'keyStore'> &
  Partial<
    Pick<
      BackingKeyRecord,
      'keyId' | 'residency' | 'domainKeyId' | 'formerDomainKeyIds' | 'regions' | 'importedMaterialId' | 'wrappedKeySpec'
    >
  >;

const wayOut =
  'if its HSM is lost for good, `drawbridge upkeep confirm --leave-material` has the key deleted and leaves there what is there';

type Directory = Pick<KeyDirectory, 'keyStore' | 'keyStores' | 'defaultKeyStore'> & {
  readonly regions: ReadonlyMap<string, Pick<KeyDirectory, 'keyStores'>>;
};

/** What wrapping keys do not have: they are objects of one Region. */
const unnamed = {
  keyId: '' as KeyId,
  residency: 'token',
  domainKeyId: null,
  importedMaterialId: '',
  wrappedKeySpec: null,
} as const;

async function forgetIn(keyStores: Iterable<KeyStore>, backingKeyId: BackingKeyId): Promise<void> {
  await Promise.all([...keyStores].map((keyStore) => keyStore.forgetWrappedKey({ backingKeyId })));
}

export class DestroyedMaterial {
  readonly #directory: Directory;
  readonly #store: Pick<MetadataStore, 'scrub'>;

  constructor(directory: Directory, store: Pick<MetadataStore, 'scrub'>) {
    this.#directory = directory;
    this.#store = store;
  }

  /**
   * @param leavesMaterial Is only the default key store needed, without which nothing can be put on record?
   * @throws KeyStoreError (`unavailable`) for a key store that is away.
   */
  assertPossible(doomed: Doomed, leavesMaterial = false): void {
    const name = this.#directory.keyStores.servingName({ ...unnamed, ...doomed });
    if (name === undefined) return; // Then no HSM of this Region can have unwrapped it.
    const { state } = this.#directory.keyStore(name).status();
    const isDefault = name === this.#directory.defaultKeyStore;
    if (state === 'connected' || (leavesMaterial && !isDefault)) return;
    const away = `the key store \`${name}\` is ${state === 'closed' ? 'not connected' : state}`;
    throw new KeyStoreError('unavailable', isDefault ? away : `${away}; ${wayOut}`);
  }

  /** Is it an object of a token that is away? What is wrapped is not in the token: for that the file is enough. */
  isOutOfReach({ keyStore: name, residency }: Doomed): boolean {
    if (residency === 'wrapped' || name === this.#directory.defaultKeyStore) return false;
    return this.#directory.keyStore(name).status().state !== 'connected';
  }

  /** Has this Region's lanes forget what it shared with others, which go on using it. */
  async forget(materials: readonly BackingKeyRecord[]): Promise<void> {
    for (const { backingKeyId } of materials) await forgetIn(this.#directory.keyStores.all, backingKeyId);
  }

  /**
   * Destroys what is there of it; that nothing is there is fine.
   * @param left Of these the objects are left where they are: what there may be of them in the file is not.
   * @throws KeyStoreError and StoreError for what is in the way, and `internal` for what is still there afterwards.
   */
  async destroy(doomed: readonly Doomed[], left: ReadonlySet<Doomed> = new Set()): Promise<void> {
    const wrapped = doomed.filter(({ residency }) => residency === 'wrapped');
    const objects = doomed.filter((each) => each.residency !== 'wrapped' && !left.has(each));
    for (const { backingKeyId, keyStore } of objects)
      await this.#directory.keyStore(keyStore).destroyKey({ backingKeyId });
    for (const each of wrapped) {
      const { backingKeyId, keyStore, regions = '', importedMaterialId = '' } = each;
      const name = nameInLanes({ backingKeyId, regions, importedMaterialId });
      // Of what Regions share, any of their key stores may have unwrapped it, also one that has the domain key no more; of what was moved, the
      // former one, in which a call was under way while it was told to forget.
      const isElsewhere =
        this.#directory.keyStores.isShared({ ...unnamed, ...each }) || (each.formerDomainKeyIds ?? '') !== '';
      const those = isElsewhere ? [...this.#directory.regions.values()] : [];
      if (isElsewhere) await forgetIn(new Set(those.flatMap(({ keyStores }) => [...keyStores.all])), name);
      else await forgetIn([this.#directory.keyStore(keyStore)], name);
    }
    for (const object of objects) await this.#assertGone(object);
    // A token object that was wrapped once left the blob of then in the file.
    const wereWrapped = doomed.some(({ domainKeyId }) => domainKeyId != null);
    if (wrapped.length > 0 || wereWrapped) await this.#store.scrub();
  }

  /** @throws KeyStoreError `internal` for an object that is still there, and whatever keeps the HSM from saying so. */
  async #assertGone({ backingKeyId, keyStore: name }: Doomed): Promise<void> {
    try {
      await this.#directory.keyStore(name).describeKey({ backingKeyId });
    } catch (error) {
      // No object has this id: `destroyKey` destroys all that have it, so it is not for there being several.
      if (error instanceof KeyStoreError && error.failure === 'keyUnavailable') return;
      throw error;
    }
    throw new KeyStoreError('internal', `the key store \`${name}\` still has \`${backingKeyId}\` after destroying it`);
  }
}
