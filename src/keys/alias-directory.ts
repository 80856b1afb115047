/**
 * All aliases of one Region: a part of the fold over the records that `key-directory.ts` is. They are in memory, or, where there is a
 * source of them, those that were asked for last are.
 */

import type { AliasName, KeyId } from '../kms/names.ts';
import type { RecordSource } from '../store/record-source.ts';
import type { AliasRecord } from '../store/records/records.ts';
import { type NameList, type Page, SortedNames } from './lists/sorted-names.ts';

/** Where aliases are read that are not in memory. */
export interface AliasSource {
  readonly records: Pick<RecordSource, 'select' | 'aliases' | 'count'>;
  readonly region: string;
  /** So many are kept in memory. */
  readonly maxKept: number;
  /** One that stands for a key that was deleted is a row that somebody put back. */
  readonly isDeleted: (keyId: KeyId) => boolean;
}

export class AliasDirectory {
  readonly #names = new SortedNames<AliasName>();
  /** Those in memory; where there is a source, the one that was read last is the last. */
  readonly #records = new Map<AliasName, AliasRecord>();
  /** Of a list that was read last: whoever reads a list asks for each of it next, and puts no other out of memory. */
  #listed: ReadonlyMap<AliasName, AliasRecord> = new Map();
  /** By the key that they stand for. */
  readonly #namesOf = new Map<KeyId, Set<AliasName>>();
  #source: AliasSource | undefined;
  #count = 0;

  get size(): number {
    return this.#count;
  }

  /** In order, for the list operation. */
  get names(): Pick<NameList<AliasName>, 'page'> {
    const source = this.#source;
    if (source === undefined) return this.#names;
    return { page: (after, limit) => this.#readPage(source, after, limit) };
  }

  /** From now on they are read there. */
  readFrom(source: AliasSource): void {
    this.#source = source;
    this.#count = source.records.count('alias', source.region);
  }

  find(aliasName: AliasName): AliasRecord | undefined {
    return this.#records.get(aliasName) ?? this.#findListed(aliasName) ?? this.#read(aliasName);
  }

  /** The names that stand for a key. */
  namesOf(keyId: KeyId): readonly AliasName[] {
    const source = this.#source;
    if (source === undefined) return [...(this.#namesOf.get(keyId) ?? [])];
    const records = source.records.select('alias', { region: source.region, keyId });
    this.#list(records);
    return records.map(({ aliasName }) => aliasName);
  }

  /** The same in order, for the list operation. */
  sortedNamesOf(keyId: KeyId): SortedNames<AliasName> {
    const sorted = new SortedNames<AliasName>();
    for (const name of this.namesOf(keyId)) sorted.add(name);
    return sorted;
  }

  /** Takes an alias that is in the store. @param isNew It is no former one that stands for another key. */
  show(record: AliasRecord, isNew: boolean): void {
    const { aliasName, keyId } = record;
    if (isNew) this.#count++;
    if (this.#source !== undefined) {
      this.#list([]);
      if (this.#records.has(aliasName)) this.#records.set(aliasName, record);
      return;
    }
    this.#forgetTarget(aliasName);
    if (!this.#records.has(aliasName)) this.#names.add(aliasName);
    this.#records.set(aliasName, record);
    const names = this.#namesOf.get(keyId) ?? new Set();
    this.#namesOf.set(keyId, names.add(aliasName));
  }

  /** Forgets an alias that is in the store no more. */
  hide(aliasName: AliasName): void {
    this.#count--;
    this.#list([]);
    this.#forgetTarget(aliasName);
    this.#records.delete(aliasName);
    if (this.#source === undefined) this.#names.remove(aliasName);
  }

  #readPage({ records, region }: AliasSource, after: string | undefined, limit: number): Page<AliasName> {
    const page = records.aliases(region, after, limit);
    this.#list(page.records);
    return page;
  }

  #list(records: readonly AliasRecord[]): void {
    if (this.#listed.size > 0 || records.length > 0)
      this.#listed = new Map(records.map((record) => [record.aliasName, record]));
  }

  #findListed(aliasName: AliasName): AliasRecord | undefined {
    const record = this.#listed.get(aliasName);
    return record === undefined || this.#source?.isDeleted(record.keyId) === true ? undefined : record;
  }

  #read(aliasName: AliasName): AliasRecord | undefined {
    if (this.#source === undefined) return undefined;
    const { records, region, maxKept, isDeleted } = this.#source;
    const [record] = records.select('alias', { region, aliasName });
    if (record === undefined || isDeleted(record.keyId)) return undefined;
    this.#records.set(aliasName, record);
    for (const oldest of this.#records.keys()) {
      if (this.#records.size <= maxKept) break;
      this.#records.delete(oldest);
    }
    return record;
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
