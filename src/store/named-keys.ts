/**
 * Which keys of the tokens a metadata store names, for whoever only looks (`drawbridge doctor`): nothing is migrated or
 * written, no HSM is needed, and no MAC is verified, so nothing may be decided by it.
 */

import type { DatabaseSync } from 'node:sqlite';
import { Kysely } from 'kysely';
import { type BackingKeyId, parseBackingKeyId } from '../kms/names.ts';
import { openDatabaseFile, rowsOf, sqliteDialect } from './sqlite-database.ts';
import type { ServiceKeyPurpose } from './sqlite-store.ts';
import { asStoreError } from './store-error.ts';

export interface NamedKeys {
  /** Absent: of a store that was never completely initialised. */
  readonly serviceKey: BackingKeyId | undefined;
  /** Some of those that are in use, by key store. */
  readonly backingKeys: ReadonlyMap<string, readonly BackingKeyId[]>;
}

interface Tables {
  readonly service_key: { readonly purpose: string; readonly backing_key_id: string };
  readonly backing_key: { readonly backing_key_id: string; readonly key_store: string; readonly state: string };
}

/**
 * @param path A metadata store that is there.
 * @param most Of the backing keys of each key store.
 * @throws StoreError; `locked` while a daemon has it open.
 */
export function readNamedKeys(path: string, purpose: ServiceKeyPurpose, most: number): NamedKeys {
  const database = openDatabaseFile(path);
  try {
    return namedKeys(database, purpose, most);
  } catch (error) {
    throw asStoreError(error, 'read the metadata store', path);
  } finally {
    database.close();
  }
}

function namedKeys(database: DatabaseSync, purpose: ServiceKeyPurpose, most: number): NamedKeys {
  const db = new Kysely<Tables>({ dialect: sqliteDialect(database) });
  const ofPurpose = db.selectFrom('service_key').select('backing_key_id').where('purpose', '=', purpose).compile();
  const [serviceKey] = ids(rowsOf(database, ofPurpose));
  const stores = db.selectFrom('backing_key').select('key_store').distinct().compile();
  const backingKeys = new Map<string, readonly BackingKeyId[]>();
  for (const [keyStore] of [...rowsOf(database, stores)]) {
    if (typeof keyStore !== 'string') continue;
    const inUse = db
      .selectFrom('backing_key')
      .select('backing_key_id')
      .where('key_store', '=', keyStore)
      .where('state', '=', 'Active')
      .limit(most)
      .compile();
    backingKeys.set(keyStore, ids(rowsOf(database, inUse)));
  }
  return { serviceKey, backingKeys };
}

/** What is none is left out: the next start says so. */
function ids(rows: Iterable<unknown[]>): readonly BackingKeyId[] {
  return [...rows].flatMap(([text]) => {
    const id = typeof text === 'string' ? parseBackingKeyId(text) : undefined;
    return id === undefined ? [] : [id];
  });
}
