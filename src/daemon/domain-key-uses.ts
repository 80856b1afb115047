/**
 * What is wrapped under each domain key, and in which key stores it is used: counted over all keys, some at a time, while others go on.
 *
 * INVARIANT: a count is never less than what there is, up to its end. What is written after it began is added when it is on disk, and
 * nothing is taken off, so in a turn a domain key of which it says that nothing is under it can be destroyed. One that it says to be
 * needed may not be any more: whoever asks again later hears of that.
 */

import type { KeyView } from '../keys/key-view.ts';
import { isOfRegion } from '../keys/regions-of-material.ts';
import { type BackingKeyId, isMultiRegion, type KeyId } from '../kms/names.ts';
import { type MaterialPage, whenVerified } from '../store/record-source.ts';
import type { Change } from '../store/records/changes.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';
import type { Fold, Turns } from '../store/turns.ts';

type Regions = readonly { readonly directory: Pick<KeyView, 'all' | 'source' | 'keyStores' | 'realm'> }[];

export interface CountedUses extends Disposable {
  /** How many pieces of material are wrapped under a domain key, wherever. */
  under(domainKeyId: BackingKeyId): number;
  /** How many of them are used in a key store, each as often as there are Regions that use it there. */
  usedIn(keyStore: string): (domainKeyId: BackingKeyId) => number;
  /** Multi-Region keys that are used in a key store and in another one. */
  sharedWith(keyStore: string): readonly KeyId[];
}

/** To read so many, and to have them judged, takes a millisecond. */
const recordsAtOnce = 64;
/** In memory it is gone through so much faster. */
const keysAtOnce = 1024;

export class DomainKeyUses implements Fold {
  readonly #regions: Regions;
  readonly #open = new Set<Counting>();

  constructor(regions: Regions, turns: Pick<Turns, 'follow'>) {
    this.#regions = regions;
    turns.follow(this);
  }

  apply(changes: readonly Change[]): void {
    for (const change of changes)
      if ('put' in change && change.put === 'backingKey') for (const each of this.#open) each.add(change.record);
  }

  /** @returns What is to be disposed of: until then it follows what is written. @throws what reading and verifying fails with. */
  async count(): Promise<CountedUses> {
    const counting = new Counting(this.#regions, (ended) => this.#open.delete(ended));
    this.#open.add(counting);
    try {
      await this.#countAll(counting);
      return counting;
    } catch (error) {
      counting[Symbol.dispose]();
      throw error;
    }
  }

  async #countAll(counting: Counting): Promise<void> {
    // All Regions have the one source, or none.
    const source = this.#regions[0]?.directory.source;
    if (source === undefined) return this.#countInMemory(counting);
    let from: bigint | null = 0n;
    while (from !== null) {
      const at: bigint = from;
      const page: MaterialPage = await whenVerified(() => source.wrapped(at, recordsAtOnce));
      for (const record of page.records) counting.add(record);
      from = page.next;
      await othersFirst();
    }
  }

  async #countInMemory(counting: Counting): Promise<void> {
    // Material of a multi-Region key is in the directory of each of its Regions, and is counted once.
    const shared = new Set<string>();
    for (const { directory } of this.#regions) {
      let keys = 0;
      for (const { record: key, materials } of directory.all()) {
        for (const record of materials) {
          const name = `${record.regions} ${record.backingKeyId}`;
          if (isMultiRegion(key.keyId) && shared.has(name)) continue;
          if (isMultiRegion(key.keyId)) shared.add(name);
          counting.add(record);
        }
        if (++keys % keysAtOnce === 0) await othersFirst();
      }
    }
  }
}

class Counting implements CountedUses {
  readonly #regions: Regions;
  readonly #ended: (counting: Counting) => void;
  readonly #under = new Map<string, number>();
  /** By `KEY-STORE DOMAIN-KEY`. */
  readonly #used = new Map<string, number>();
  readonly #placesOf = new Map<KeyId, Set<string>>();

  constructor(regions: Regions, ended: (counting: Counting) => void) {
    this.#regions = regions;
    this.#ended = ended;
  }

  add(record: BackingKeyRecord): void {
    const { keyId, keyStore, wrappedKey, domainKeyId } = record;
    if (wrappedKey === null || domainKeyId === null) return;
    addOne(this.#under, domainKeyId);
    for (const { directory } of this.#regions) {
      if (!isOfRegion(record, directory.realm.region)) continue;
      const place = directory.keyStores.servingName(record) ?? keyStore;
      addOne(this.#used, `${place} ${domainKeyId}`);
      // Others have all that they have in one Region, and share nothing.
      if (isMultiRegion(keyId)) this.#placesOf.set(keyId, (this.#placesOf.get(keyId) ?? new Set()).add(place));
    }
  }

  readonly under = (domainKeyId: BackingKeyId): number => this.#under.get(domainKeyId) ?? 0;

  usedIn(keyStore: string): (domainKeyId: BackingKeyId) => number {
    return (domainKeyId) => this.#used.get(`${keyStore} ${domainKeyId}`) ?? 0;
  }

  sharedWith(keyStore: string): readonly KeyId[] {
    const all = [...this.#placesOf];
    return all.flatMap(([keyId, places]) => (places.has(keyStore) && places.size > 1 ? [keyId] : []));
  }

  [Symbol.dispose](): void {
    this.#ended(this);
  }
}

function addOne(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

function othersFirst(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
