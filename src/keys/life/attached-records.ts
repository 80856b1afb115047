/**
 * The records of one Region's keys that are no part of a `KmsKey` and go when it does: its last use, and the pairs under which
 * material for it is wrapped. A fold of its own, so that they can be removed in the version in which they are.
 */

import type { BackingKeyId, KeyId } from '../../kms/names.ts';
import type { LoadedMetadata } from '../../store/metadata-store.ts';
import type { RecordSource } from '../../store/record-source.ts';
import type { Change } from '../../store/records/changes.ts';
import type { LastUseRecord, WrappingKeyRecord } from '../../store/records/records.ts';
import type { Fold } from '../../store/turns.ts';

type Loaded = Pick<LoadedMetadata, 'lastUse' | 'wrappingKey'>;

export class AttachedRecords implements Fold {
  readonly #region: string;
  readonly #source: Pick<RecordSource, 'select'> | undefined;
  readonly #lastUses = new Map<KeyId, LastUseRecord>();
  readonly #wrappingKeyById = new Map<BackingKeyId, WrappingKeyRecord>();
  /** By key, then by id. */
  readonly #wrappingKeys = new Map<KeyId, Map<string, WrappingKeyRecord>>();

  /** @param source Where last uses are read; absent: all are in `lastUse`. */
  constructor(region: string, { lastUse, wrappingKey }: Loaded, source?: Pick<RecordSource, 'select'>) {
    this.#region = region;
    this.#source = source;
    for (const record of lastUse) if (record.region === region) this.#lastUses.set(record.keyId, record);
    for (const record of wrappingKey) if (record.region === region) this.#showWrappingKey(record);
  }

  lastUseOf(keyId: KeyId): LastUseRecord | undefined {
    if (this.#source === undefined) return this.#lastUses.get(keyId);
    return this.#source.select('lastUse', { region: this.#region, keyId })[0];
  }

  findWrappingKey(backingKeyId: BackingKeyId): WrappingKeyRecord | undefined {
    return this.#wrappingKeyById.get(backingKeyId);
  }

  /** All of them, also those that are being made or destroyed. */
  allWrappingKeys(): readonly WrappingKeyRecord[] {
    return [...this.#wrappingKeyById.values()];
  }

  wrappingKeysOf(keyId: KeyId): readonly WrappingKeyRecord[] {
    return [...(this.#wrappingKeys.get(keyId)?.values() ?? [])];
  }

  apply(changes: readonly Change[]): void {
    for (const change of changes) {
      if ('region' in change.record && change.record.region !== this.#region) continue;
      if ('put' in change) {
        if (change.put === 'lastUse' && this.#source === undefined)
          this.#lastUses.set(change.record.keyId, change.record);
        if (change.put === 'wrappingKey') this.#showWrappingKey(change.record);
      } else {
        if (change.remove === 'lastUse') this.#lastUses.delete(change.record.keyId);
        if (change.remove === 'wrappingKey') this.#hideWrappingKey(change.record);
      }
    }
  }

  #showWrappingKey(record: WrappingKeyRecord): void {
    this.#wrappingKeyById.set(record.backingKeyId, record);
    const records = this.#wrappingKeys.get(record.keyId) ?? new Map<string, WrappingKeyRecord>();
    this.#wrappingKeys.set(record.keyId, records.set(record.backingKeyId, record));
  }

  #hideWrappingKey({ keyId, backingKeyId }: WrappingKeyRecord): void {
    this.#wrappingKeyById.delete(backingKeyId);
    const records = this.#wrappingKeys.get(keyId);
    records?.delete(backingKeyId);
    if (records?.size === 0) this.#wrappingKeys.delete(keyId);
  }
}
