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
  /** Some of those that are in use and in an HSM, by key store; of wrapped ones it is their domain keys that are there. */
  readonly backingKeys: ReadonlyMap<string, readonly BackingKeyId[]>;
}

interface Tables {
  readonly service_key: { readonly purpose: string; readonly backing_key_id: string };
  readonly backing_key: KeyRow & { readonly residency: string };
  readonly domain_key: KeyRow;
  readonly sqlite_schema: { readonly name: string };
}

interface KeyRow {
  readonly backing_key_id: string;
  readonly key_store: string;
  readonly state: string;
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
  // A file that no version with domain keys has opened has no such table.
  const domainKeys = db.selectFrom('sqlite_schema').select('name').where('name', '=', 'domain_key').compile();
  const hasDomainKeys = [...rowsOf(database, domainKeys)].length > 0;
  const backingKeys = new Map<string, readonly BackingKeyId[]>();
  for (const [keyStore] of [...rowsOf(database, stores)]) {
    if (typeof keyStore !== 'string') continue;
    const wrappers = inUse(db, 'domain_key', keyStore).limit(most).compile();
    const objects = inUse(db, 'backing_key', keyStore).where('residency', '!=', 'wrapped').limit(most).compile();
    const found = [...(hasDomainKeys ? ids(rowsOf(database, wrappers)) : []), ...ids(rowsOf(database, objects))];
    backingKeys.set(keyStore, found.slice(0, most));
  }
  return { serviceKey, backingKeys };
}

function inUse<Table extends 'backing_key' | 'domain_key'>(db: Kysely<Tables>, table: Table, keyStore: string) {
  // Both tables have these columns, which the type of a union of tables cannot say.
  const rows = db.selectFrom(table as 'backing_key').select('backing_key_id');
  return rows.where('key_store', '=', keyStore).where('state', '=', 'Active');
}

/** What is none is left out: the next start says so. */
function ids(rows: Iterable<unknown[]>): readonly BackingKeyId[] {
  return [...rows].flatMap(([text]) => {
    const id = typeof text === 'string' ? parseBackingKeyId(text) : undefined;
    return id === undefined ? [] : [id];
  });
}
