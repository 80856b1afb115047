/** All aliases of one Region, in memory: a part of the fold over the records that `key-directory.ts` is. */

import type { AliasName, KeyId } from '../kms/names.ts';
import type { AliasRecord } from '../store/records/records.ts';
import { SortedNames } from './lists/sorted-names.ts';

export class AliasDirectory {
  /** In order, for the list operation. */
  readonly names = new SortedNames<AliasName>();
  readonly #records = new Map<AliasName, AliasRecord>();
  /** By the key that they stand for. */
  readonly #namesOf = new Map<KeyId, Set<AliasName>>();

  get size(): number {
    return this.#records.size;
  }

  find(aliasName: AliasName): AliasRecord | undefined {
    return this.#records.get(aliasName);
  }

  /** The names that stand for a key. */
  namesOf(keyId: KeyId): readonly AliasName[] {
    return [...(this.#namesOf.get(keyId) ?? [])];
  }

  /** The same in order, for the list operation. */
  sortedNamesOf(keyId: KeyId): SortedNames<AliasName> {
    const sorted = new SortedNames<AliasName>();
    for (const name of this.#namesOf.get(keyId) ?? []) sorted.add(name);
    return sorted;
  }

  /** Takes an alias that is in the store, new or standing for another key. */
  show(record: AliasRecord): void {
    this.#forgetTarget(record.aliasName);
    if (!this.#records.has(record.aliasName)) this.names.add(record.aliasName);
    this.#records.set(record.aliasName, record);
    const names = this.#namesOf.get(record.keyId) ?? new Set();
    this.#namesOf.set(record.keyId, names.add(record.aliasName));
  }

  /** Forgets an alias that is in the store no more. */
  hide(aliasName: AliasName): void {
    this.#forgetTarget(aliasName);
    this.#records.delete(aliasName);
    this.names.remove(aliasName);
  }

  /** From the names of the key for which it stood. */
  #forgetTarget(aliasName: AliasName): void {
    const keyId = this.#records.get(aliasName)?.keyId;
    const names = keyId === undefined ? undefined : this.#namesOf.get(keyId);
    if (keyId === undefined || names === undefined) return;
    names.delete(aliasName);
    if (names.size === 0) this.#namesOf.delete(keyId);
  }
}
