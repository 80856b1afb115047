/**
 * What is found and counted by the file's indexes, whether all records are in memory or not: which keys are to be rotated next, and what
 * is wrapped under which domain key. So nobody has to go through all keys for it, however many there are.
 *
 * Nothing of it is verified: it is for people, and for those who read the record of what was found before they do anything.
 */

import type { DatabaseSync } from 'node:sqlite';
import { type KeyId, parseKeyId } from '../kms/names.ts';
import { RotationIndex } from './rotation-index.ts';
import { RunningCounts } from './running-counts.ts';
import { asStoreError } from './store-error.ts';
import type { Replaced } from './transactions.ts';

export class StoreIndexes {
  /** When keys are to be rotated, as their rows say. */
  readonly rotations: Pick<RotationIndex, 'between' | 'count' | 'of'>;
  readonly #file: { readonly database: DatabaseSync; readonly path: string };
  readonly #counts: RunningCounts;

  /** @param file Its `path` is for what is said of it. */
  constructor(file: { readonly database: DatabaseSync; readonly path: string }) {
    this.#file = file;
    this.#counts = new RunningCounts(file.database);
    this.rotations = new RotationIndex(file, this.#counts);
  }

  /** How many backing keys are wrapped under each domain key, by `KEY-STORE DOMAIN-KEY`. */
  wrappedUnder(): ReadonlyMap<string, number> {
    return this.#counts.wrappedUnder();
  }

  /** Some of the keys with material that is wrapped under a domain key in this key store. @throws StoreError when the disk refuses. */
  keysUnder(keyStore: string, domainKeyId: string, limit: number): readonly KeyId[] {
    const { database, path } = this.#file;
    try {
      const statement = database.prepare(
        "select distinct key_id from backing_key where wrapped_key <> '' and key_store = ? and domain_key_id = ? limit ?",
      );
      return statement
        .all(keyStore, domainKeyId, limit)
        .flatMap(({ key_id: keyId }) => parseKeyId(String(keyId)) ?? []);
    } catch (error) {
      throw asStoreError(error, 'read the metadata store', path);
    }
  }

  /** What a transaction has put into the place of what, once it is on disk. */
  follow(records: Replaced): void {
    this.#counts.follow(records);
  }
}
