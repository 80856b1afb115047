/**
 * How a KMS key ends, so that a crash at any moment leaves nothing half done and nothing that is named nowhere.
 *
 * (1) A turn puts the key's tombstone and makes what there is of it in HSMs a duty, `Destroying`. The key stays pending
 * deletion, and from now on goes one way: its deletion can be cancelled no more. (2) Each object is destroyed in its HSM, and
 * the HSM is asked whether it is gone; what was wrapped leaves its record in (1) and the file in (2) (`destroyed-material.ts`). (3) A turn removes the key's records, and with them its policy, aliases, grants and last
 * use; only the tombstone stays. Before (3) the records say what there is to destroy, so whoever goes on after a crash finds it
 * by them, and finds done what is done. Nothing begins while a key store that has a part of it is away, unless an operator says that the
 * HSM does not come back: then what is in it is left there, on record, and belongs to no key any more. (AWS leaves it without being told.)
 *
 * A replica of a multi-Region key has nothing of its own in an HSM, unless its material is imported: it goes in one turn, tombstone and
 * all, on record before, since nothing is left by which a start would know of it; and the material stays with the related keys. With the last replica goes what its primary key waits for.
 *
 * Who says that the time has come is upkeep (`daemon/upkeep/`).
 */

import type { BackingKeyId, KeyId } from '../../kms/names.ts';
import type { Residency } from '../../kms/residencies.ts';
import type { MetadataStore } from '../../store/metadata-store.ts';
import { added, type Change, removed, replaced } from '../../store/records/changes.ts';
import type { BackingKeyRecord, WrappingKeyRecord } from '../../store/records/records.ts';
import type { Decided, Turns } from '../../store/turns.ts';
import { customKeyStoreOnRecord } from '../custom-key-store.ts';
import type { KeyDirectory } from '../key-directory.ts';
import type { KmsKey } from '../kms-key.ts';
import { multiRegionKeyType, primaryOf, relatedKeys, relatedRegions, replicasOf } from '../multi-region.ts';
import { renamed } from '../regions-of-material.ts';
import type { AttachedRecords } from './attached-records.ts';
import { DestroyedMaterial } from './destroyed-material.ts';
import type { DomainKeys } from './domain-keys.ts';

const dayMs = 24 * 60 * 60 * 1000;

/** Material that has to go, as it is put on record. */
export interface DoomedObject {
  readonly backingKeyId: BackingKeyId;
  readonly keyStore: string;
  /** Absent: a token object. */
  readonly residency?: Extract<Residency, 'wrapped'>;
  /** Of material that is or was wrapped: while this domain key is there, a copy of the metadata from before still has the key. */
  readonly domainKeyId?: BackingKeyId;
  /** It is where it was: its HSM could not be reached. */
  readonly isLeft?: true;
}

export interface KeyDeletionOptions {
  readonly directory: KeyDirectory;
  readonly attached: AttachedRecords;
  readonly turns: Turns;
  /** The owner of the duties that are made here. */
  readonly nodeId: string;
  readonly domainKeys: Pick<DomainKeys, 'everOf'>;
  readonly store: Pick<MetadataStore, 'scrub'>;
}

export class KeyDeletion {
  readonly #directory: KeyDirectory;
  readonly #attached: AttachedRecords;
  readonly #turns: Turns;
  readonly #nodeId: string;
  readonly #domainKeys: Pick<DomainKeys, 'everOf'>;
  readonly #destroyed: DestroyedMaterial;

  constructor({ directory, attached, turns, nodeId, domainKeys, store }: KeyDeletionOptions) {
    this.#directory = directory;
    this.#attached = attached;
    this.#turns = turns;
    this.#nodeId = nodeId;
    this.#domainKeys = domainKeys;
    this.#destroyed = new DestroyedMaterial(directory, store);
  }

  /** When keys are to be deleted whose destruction has not begun. */
  get dates(): KeyDirectory['watchedKeys']['deletions'] {
    return this.#directory.watchedKeys.deletions;
  }

  /** Keys whose destruction has begun, with the dates on which that was due. */
  *begun(): Iterable<{ readonly keyId: KeyId; readonly deletionDateMs: number }> {
    for (const keyId of this.#directory.watchedKeys.begunDeletions) {
      const { state, deletionDateMs = null } = this.#directory.findSoundKey(keyId)?.record ?? {};
      if (state === 'PendingDeletion' && deletionDateMs !== null) yield { keyId, deletionDateMs };
    }
  }

  /** For the event: the custom key store that the key is in, if it is in one. */
  customKeyStoreOf(keyId: KeyId): Readonly<Record<string, string>> | undefined {
    const key = this.#directory.findKey(keyId);
    return key && customKeyStoreOnRecord(key, this.#directory.customKeyStores);
  }

  /**
   * Steps 1 and 2.
   * @param isDue Asked in the turn about the date that stands on record by then.
   * @param announce Puts on record what was destroyed: before anything of the key's records goes. It may be called once more after a crash.
   * @param leavesMaterial What is in a key store that is away is no obstacle, and is left.
   * @returns What was destroyed or left; `undefined` when the key is not to be deleted, or not yet.
   * @throws KeyStoreError for a key store that is away, with nothing begun, and for one that refuses.
   */
  async destroy(
    keyId: KeyId,
    isDue: (deletionDateMs: number) => boolean,
    nowMs: number,
    announce: (destroyed: readonly DoomedObject[]) => Promise<void>,
    { leavesMaterial }: { readonly leavesMaterial: boolean } = { leavesMaterial: false },
  ): Promise<readonly DoomedObject[] | undefined> {
    const key = this.#directory.findKey(keyId);
    if (key === undefined) return undefined;
    if (this.#isShared(keyId)) {
      const forgotten = await this.#forgetReplica(keyId, isDue, nowMs, () => announce([]));
      // A key store that serves another Region, too, unwraps it for that one again.
      if (forgotten !== undefined) await this.#destroyed.forget(key.materials);
      return forgotten;
    }
    for (const object of this.#objectsOf(key)) this.#destroyed.assertPossible(object, leavesMaterial);
    const doomed = await this.#turns.take(() => this.#condemn(keyId, isDue, nowMs));
    if (doomed === undefined) return undefined;
    const left = new Set(leavesMaterial ? doomed.filter((object) => this.#destroyed.isOutOfReach(object)) : []);
    await this.#destroyed.destroy(doomed, left);
    const told = doomed.map(
      (object): DoomedObject => ({ ...toldOf(object), ...(left.has(object) && { isLeft: true }) }),
    );
    await announce(told);
    return told;
  }

  /** Is its material that of another Region's key, too? */
  #isShared(keyId: KeyId): boolean {
    const related = relatedKeys(this.#directory, keyId);
    return related.length > 1 && related.every(({ record }) => record.origin !== 'EXTERNAL');
  }

  /** @returns What was destroyed, which is nothing; `undefined` when the key is not to be deleted, or not yet. */
  #forgetReplica(
    keyId: KeyId,
    isDue: (deletionDateMs: number) => boolean,
    deletedAtMs: number,
    announce: () => Promise<void>,
  ): Promise<readonly DoomedObject[] | undefined> {
    const decide = (): Decided<readonly DoomedObject[] | undefined> => {
      const key = this.#directory.findKey(keyId);
      const dateMs = key?.record.state === 'PendingDeletion' ? key.record.deletionDateMs : null;
      // With related keys, a primary key is in no state in which it could be deleted.
      if (key === undefined || dateMs === null || !isDue(dateMs) || !this.#isShared(keyId))
        return { changes: [], response: undefined };
      const { region } = this.#directory.realm;
      const tombstone = added('tombstone', { region, keyId, version: 1, deletedAtMs, domainKeyIds: '' });
      const regions = relatedRegions(this.#directory, keyId).filter((name) => name !== region);
      const left = key.materials.flatMap((material) => renamed(material, regions));
      const changes = [tombstone, ...this.#removals(key), ...left, ...this.#begunWait(key, deletedAtMs)];
      return { changes, response: [] };
    };
    return this.#turns.take(decide, { announce });
  }

  /** Of the primary key, when this was its last replica: from now on it waits for its own deletion. */
  #begunWait(replica: KmsKey, nowMs: number): readonly Change[] {
    const { keyId, region } = replica.record;
    if (multiRegionKeyType(replica.record) !== 'REPLICA') return [];
    const others = replicasOf(this.#directory, keyId).filter(({ record }) => record.region !== region);
    const { record } = primaryOf(this.#directory, replica);
    if (others.length > 0 || record.state !== 'PendingReplicaDeletion' || record.deletionWindowDays === null) return [];
    const deletionDateMs = nowMs + record.deletionWindowDays * dayMs;
    return [replaced('key', record, { state: 'PendingDeletion', deletionDateMs, deletionWindowDays: null })];
  }

  /** Step 3. To be called when all is destroyed. */
  async forget(keyId: KeyId, nowMs: number): Promise<void> {
    await this.#turns.take(() => {
      const key = this.#directory.findKey(keyId);
      if (key === undefined) return { changes: [], response: undefined };
      if (!this.#directory.tombstones.has(keyId)) throw new TypeError(`key ${keyId} was not destroyed`);
      return { changes: [...this.#removals(key), ...this.#begunWait(key, nowMs)], response: undefined };
    });
  }

  #condemn(keyId: KeyId, isDue: (deletionDateMs: number) => boolean, deletedAtMs: number) {
    const key = this.#directory.findKey(keyId);
    const dateMs = key?.record.state === 'PendingDeletion' ? key.record.deletionDateMs : null;
    if (key === undefined || dateMs === null || !isDue(dateMs)) return { changes: [], response: undefined };
    const { region } = this.#directory.realm;
    const duty = { state: 'Destroying', owner: this.#nodeId } as const;
    const domainKeyIds = [...new Set(key.materials.flatMap((record) => this.#domainKeys.everOf(record)))]
      .sort()
      .join(' ');
    const changes: Change[] = [];
    if (!this.#directory.tombstones.has(keyId)) {
      changes.push(added('tombstone', { region, keyId, version: 1, deletedAtMs, domainKeyIds }));
    }
    for (const record of key.materials) {
      if (record.state !== 'Active') continue;
      changes.push(replaced('backingKey', record, { ...duty, wrappedKey: null }));
    }
    for (const record of this.#attached.wrappingKeysOf(keyId)) {
      if (record.state === 'Active') changes.push(replaced('wrappingKey', record, duty));
    }
    return { changes, response: this.#objectsOf(key) };
  }

  /** Everything of the key that is in HSMs, or may be; intents are undone by those who began them. */
  #objectsOf({ record: { keyId }, materials }: KmsKey): readonly (BackingKeyRecord | WrappingKeyRecord)[] {
    const pairs = this.#attached.wrappingKeysOf(keyId).filter(({ state }) => state !== 'Creating');
    return [...materials.filter(({ state }) => state !== 'Removed'), ...pairs];
  }

  #removals({ record, policyRecord, materials }: KmsKey): readonly Change[] {
    const { keyId } = record;
    const { aliases, grants } = this.#directory;
    const changes: Change[] = [removed('key', record), removed('keyPolicy', policyRecord)];
    if (!this.#isShared(keyId)) for (const material of materials) changes.push(removed('backingKey', material));
    for (const name of aliases.namesOf(keyId)) {
      const alias = aliases.find(name);
      if (alias !== undefined) changes.push(removed('alias', alias));
    }
    for (const grant of grants.allOf(keyId)) changes.push(removed('grant', grant));
    const lastUse = this.#attached.lastUseOf(keyId);
    if (lastUse !== undefined) changes.push(removed('lastUse', lastUse));
    for (const pair of this.#attached.wrappingKeysOf(keyId)) {
      if (pair.state !== 'Creating') changes.push(removed('wrappingKey', pair));
    }
    return changes;
  }
}

function toldOf(object: BackingKeyRecord | WrappingKeyRecord): DoomedObject {
  const { backingKeyId, keyStore } = object;
  if (!('residency' in object)) return { backingKeyId, keyStore };
  const { domainKeyId, residency } = object;
  const named = { backingKeyId, keyStore, ...(domainKeyId === null ? {} : { domainKeyId }) };
  return residency === 'wrapped' ? { ...named, residency } : named;
}
