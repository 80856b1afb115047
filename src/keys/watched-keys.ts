/**
 * Of all keys of one Region, those that something may be due of, by their dates, so that upkeep and the status need not go through the
 * others, nor through all of those: a part of the fold over the records that `key-directory.ts` is.
 *
 * Rotations are found by their dates here while all keys are in memory, and otherwise in the file (`store/rotation-index.ts`).
 */

import type { BackingKeyId, KeyId } from '../kms/names.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import type { Change } from '../store/records/changes.ts';
import type { BackingKeyRecord, KeyRecord } from '../store/records/records.ts';
import type { ClockReading, ExpiryClocks } from './expiry-watch.ts';
import { isOfRegion } from './regions-of-material.ts';
import { RotationDates } from './rotation-dates.ts';
import { type WatchedDate, WatchedDates } from './watched-dates.ts';

/** What others may ask of them. */
export type WatchedKeysOfRegion = Omit<WatchedKeys, 'take' | 'see' | 'follow' | 'pending'>;

export class WatchedKeys {
  readonly #clocks: ExpiryClocks;
  readonly #watched = new Set<KeyId>();
  readonly #pendingDeletion = new Set<KeyId>();
  readonly #pendingReplicaDeletion = new Set<KeyId>();
  readonly #begun = new Set<KeyId>();
  readonly #deletions = new WatchedDates<KeyId>();
  readonly #expiries = new WatchedDates<BackingKeyId>();
  readonly #unsettled = new Map<BackingKeyId, KeyId>();
  #rotations: RotationDates | undefined;
  #taken: ClockReading;

  constructor(clocks: ExpiryClocks) {
    this.#clocks = clocks;
    this.#taken = clocks.now();
  }

  /** How many are to be deleted: those that have a date, and those that have none before their replicas are gone. */
  get pending() {
    return { pendingDeletion: this.#pendingDeletion.size, pendingReplicaDeletion: this.#pendingReplicaDeletion.size };
  }

  /** Those that something may be due of, a deletion or an expiry, and others: for a start, which reads them. */
  ids(): readonly KeyId[] {
    return [...this.#watched];
  }

  /** Absent where not all keys are in memory. */
  get rotations(): Pick<RotationDates, 'between' | 'count' | 'of'> | undefined {
    return this.#rotations;
  }

  /** When keys are to be deleted whose destruction has not begun. */
  get deletions(): Pick<WatchedDates<KeyId>, 'between' | 'count' | 'of'> {
    return this.#deletions;
  }

  /** Those whose destruction has begun, and has not ended. */
  get begunDeletions(): Iterable<KeyId> {
    return this.#begun;
  }

  /** When imported material expires that is there. */
  get expiries(): Pick<WatchedDates<BackingKeyId>, 'between' | 'count' | 'of'> {
    return this.#expiries;
  }

  /** Keys with imported material that some node has to finish or to undo, or is at; each once. */
  get unsettledImports(): Iterable<KeyId> {
    return new Set(this.#unsettled.values());
  }

  /** @param isAll It was loaded of all keys, and not only of those that something may be due of. */
  take(
    loaded: Pick<LoadedMetadata, 'key' | 'backingKey' | 'tombstone'>,
    { region, isAll }: { readonly region: string; readonly isAll: boolean },
  ) {
    this.#taken = this.#clocks.now();
    const records = loaded.key.filter((record) => record.region === region);
    const begun = new Set(loaded.tombstone.filter((record) => record.region === region).map(({ keyId }) => keyId));
    for (const record of records) {
      this.#mark(record);
      if (this.#pendingDeletion.has(record.keyId) && begun.has(record.keyId)) this.#begun.add(record.keyId);
    }
    this.#deletions.take(records.flatMap((record) => this.#deletionOf(record, this.#taken) ?? []));
    const materials = loaded.backingKey.filter((record) => isOfRegion(record, region));
    for (const record of materials) this.#markUnsettled(record);
    this.#expiries.take(materials.flatMap((record) => expiryOf(record, this.#taken) ?? []));
    if (!isAll) return;
    this.#rotations = new RotationDates();
    this.#rotations.take(records);
  }

  /** Of a key that was not loaded at the start, but read since: it is on record since then, or before. */
  see(materials: readonly BackingKeyRecord[]): void {
    for (const material of materials) {
      const expiry = expiryOf(material, this.#taken);
      if (expiry !== undefined) this.#expiries.put(expiry);
    }
  }

  /** A change of this Region that is on disk. */
  follow(change: Change): void {
    if ('put' in change) {
      if (change.put === 'key') this.#putKey(change.record);
      else if (change.put === 'backingKey') this.#putMaterial(change.record);
      else if (change.put === 'tombstone') this.#begin(change.record.keyId);
    } else if (change.remove === 'key') this.#removeKey(change.record.keyId);
    else if (change.remove === 'backingKey') this.#removeMaterial(change.record.backingKeyId);
    else if (change.remove === 'tombstone') this.#begun.delete(change.record.keyId);
  }

  #putKey(record: KeyRecord): void {
    this.#mark(record);
    const { keyId } = record;
    if (!this.#pendingDeletion.has(keyId)) this.#begun.delete(keyId);
    const deletion = this.#deletionOf(record, this.#clocks.now());
    if (deletion === undefined) this.#deletions.remove(keyId);
    else this.#deletions.put(deletion);
    this.#rotations?.put(record);
  }

  #removeKey(keyId: KeyId): void {
    this.#watched.delete(keyId);
    this.#pendingDeletion.delete(keyId);
    this.#pendingReplicaDeletion.delete(keyId);
    this.#begun.delete(keyId);
    this.#deletions.remove(keyId);
    this.#rotations?.remove(keyId);
  }

  #begin(keyId: KeyId): void {
    if (!this.#pendingDeletion.has(keyId)) return;
    this.#begun.add(keyId);
    this.#deletions.remove(keyId);
  }

  #putMaterial(record: BackingKeyRecord): void {
    this.#markUnsettled(record);
    if (record.importedMaterialId === '') return;
    const expiry = expiryOf(record, this.#clocks.now());
    if (expiry === undefined) this.#expiries.remove(record.backingKeyId);
    else this.#expiries.put(expiry);
  }

  #removeMaterial(backingKeyId: BackingKeyId): void {
    this.#unsettled.delete(backingKeyId);
    this.#expiries.remove(backingKeyId);
  }

  #mark({ keyId, state, origin }: KeyRecord): void {
    const isInUse = state === 'Enabled' || state === 'Disabled';
    mark(this.#watched, keyId, !isInUse || origin === 'EXTERNAL');
    mark(this.#pendingDeletion, keyId, state === 'PendingDeletion');
    mark(this.#pendingReplicaDeletion, keyId, state === 'PendingReplicaDeletion');
  }

  #markUnsettled({ backingKeyId, keyId, owner, importedMaterialId }: BackingKeyRecord): void {
    if (owner !== '' && importedMaterialId !== '') this.#unsettled.set(backingKeyId, keyId);
    else this.#unsettled.delete(backingKeyId);
  }

  #deletionOf({ keyId, state, deletionDateMs }: KeyRecord, seen: ClockReading): WatchedDate<KeyId> | undefined {
    if (state !== 'PendingDeletion' || deletionDateMs === null || this.#begun.has(keyId)) return undefined;
    return { id: keyId, keyId, dateMs: deletionDateMs, seen };
  }
}

function expiryOf(record: BackingKeyRecord, seen: ClockReading): WatchedDate<BackingKeyId> | undefined {
  const { backingKeyId, keyId, state, validToMs, importedMaterialId } = record;
  if (state !== 'Active' || validToMs === null || importedMaterialId === '') return undefined;
  return { id: backingKeyId, keyId, dateMs: validToMs, seen };
}

function mark<Value>(set: Set<Value>, value: Value, isIn: boolean): void {
  if (isIn) set.add(value);
  else set.delete(value);
}
