/**
 * Keys of one Region of which there are too many to have all in memory: those that are asked for again and again are, the others are
 * read again. Which of them go is decided as for wrapped keys in a lane (`kept-keys.ts`): whoever reads through all keys puts nobody's
 * out of memory. One that is asked for once leaves nothing there, since it is put together again in little time (`store/verified-keys.ts`).
 *
 * How many there are is kept beside. What is in memory follows the changes as ever; what is not needs no telling, since it is read from
 * where they were written.
 *
 * A key that was put out of memory may still be in somebody's hands: he goes on with it as it was, as he does after any change. What
 * must be one whoever holds it, the end of a wrapped key and the count of encryptions, outlives it (`material-in-use.ts`).
 */

import { KeptKeys } from '../hsm/kept-keys.ts';
import type { KeyId } from '../kms/names.ts';
import type { KeyFound, RecordSource } from '../store/record-source.ts';
import type { Change } from '../store/records/changes.ts';
import type { DamagedKeys } from './damaged-keys.ts';
import type { Page } from './lists/sorted-names.ts';
import type { ReadKey } from './records-of-keys.ts';
import { namesRegion } from './regions-of-material.ts';

export interface KeysOnDemandOptions {
  readonly region: string;
  /** So many are kept in memory. */
  readonly maxKeys: number;
  /** Such keys are in no list. */
  readonly damaged: Pick<DamagedKeys, 'has'>;
}

export class KeysOnDemand {
  readonly source: RecordSource;
  readonly #region: string;
  readonly #damaged: Pick<DamagedKeys, 'has'>;
  /** Those in memory. */
  readonly #kept: KeptKeys<KeyId>;
  #count: number;

  constructor(source: RecordSource, { region, maxKeys, damaged }: KeysOnDemandOptions) {
    this.#damaged = damaged;
    this.source = source;
    this.#region = region;
    this.#kept = new KeptKeys(Math.max(1, maxKeys), { fillsAtOnce: false });
    this.#count = source.count('key', region);
  }

  get count(): number {
    return this.#count;
  }

  /** Throws `UnverifiedRecords`, and StoreError when the disk refuses. */
  read(keyId: KeyId): (ReadKey & Pick<KeyFound, 'hasGrants'>) | undefined {
    const found = this.source.readKey(this.#region, keyId);
    if (found === undefined) return undefined;
    const backingKeys = found.backingKeys.filter((record) => namesRegion(record, this.#region));
    return { ...found, backingKeys };
  }

  has(keyId: KeyId): boolean {
    const { source } = this;
    return source.has('key', { region: this.#region, keyId }) || source.has('backingKey', { keyId });
  }

  /** One in memory was asked for. Is it one of those that stay there? */
  isKept(keyId: KeyId): boolean {
    return this.#kept.use(keyId) !== undefined;
  }

  /** It was asked for. @returns The one that has to go for it, if any. */
  asked(keyId: KeyId): KeyId | undefined {
    return this.#kept.use(keyId) === undefined ? this.#kept.keep(keyId, keyId) : undefined;
  }

  /** It is in memory no more. */
  forget(keyId: KeyId): void {
    this.#kept.drop(keyId);
  }

  page(after: string | undefined, limit: number): Page<KeyId> {
    const page = this.source.keyIds(this.#region, after, limit);
    const names = page.names.filter((keyId) => !this.#damaged.has(keyId));
    // A page of nothing would be the last one for whoever reads on behind its last name.
    return names.length === 0 && page.truncated ? this.page(page.names.at(-1), limit) : { ...page, names };
  }

  /** All ids, in order. */
  *all(): Iterable<KeyId> {
    let after: KeyId | undefined;
    for (;;) {
      const { names, truncated } = this.page(after, idsAtOnce);
      yield* names;
      if (!truncated) return;
      after = names.at(-1) ?? after;
    }
  }

  /** A change of this Region that is on disk. */
  follow(change: Change): void {
    if ('put' in change) {
      if (change.put === 'key' && change.replaces === null) this.#count++;
    } else if (change.remove === 'key') this.#count--;
  }
}

/** Of a list of all. */
const idsAtOnce = 1000;
