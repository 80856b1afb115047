/**
 * The metadata store in one SQLite file: `metadata-store.ts` kept, with `node:sqlite` under Kysely.
 *
 * Kysely compiles the statements; a write runs them in one synchronous transaction, so that nothing else of this process
 * comes between its statements, and blocks the process for the disk's sync (measured: 1 ms on a virtual disk). Writes are
 * rare: changes of keys, and one per 65,536 encryptions.
 *
 * MACs are computed before the transaction, by the HSM, for several writes at once; the transactions follow in the order
 * of the calls. When the HSM cannot compute one, its error is passed on as it is and nothing was changed. Every other
 * rejection is a `StoreError`. After `full` or `io` the transaction was rolled back, and the store can be used again;
 * when a crash comes before the next write, though, one that was rejected by a failing sync may be found to be there.
 *
 * The rows that name the service keys carry no MAC: one of them names the key for the MACs. Whoever opens the store checks
 * that the HSM calls each of these objects `drawbridge:service:PURPOSE` (`keys/life/service-keys.ts`), which no caller can name
 * a key.
 */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { CamelCasePlugin, type ColumnType, type CompiledQuery, Kysely } from 'kysely';
import { type BackingKeyId, parseBackingKeyId } from '../kms/names.ts';
import type { ColumnValue } from './column-member.ts';
import {
  type Change,
  type LoadedMetadata,
  type MetadataRecords,
  type MetadataStore,
  primaryKeys,
  type QuarantinedRecord,
  type RecordKind,
  type RecordMac,
} from './metadata-store.ts';
import { migrateToLatest } from './migrations.ts';
import { type Columns, fromColumns, toColumns } from './record-columns.ts';
import {
  canonicalRecord,
  columnsOfFormat,
  derivedKeyInput,
  isKnownFormat,
  isMacEqual,
  macBytes,
  recordFormats,
} from './record-mac.ts';
import { inputValue, openDatabaseFile, sqliteDialect } from './sqlite-database.ts';
import { asStoreError, StoreError } from './store-error.ts';

/** What a service key is for, as its row and its label in the HSM say. */
export type ServiceKeyPurpose = 'metadata-integrity' | 'access-key-encryption' | 'session-credentials';

export interface SqliteStore extends MetadataStore {
  /** The service key of this purpose, as the store names it; `undefined` when it names none, as a new store does. */
  serviceKey(purpose: ServiceKeyPurpose): BackingKeyId | undefined;
  /** Names it, once for each purpose. @throws StoreError `serviceKeyNamed`. */
  nameServiceKey(purpose: ServiceKeyPurpose, backingKeyId: BackingKeyId): Promise<void>;
}

/** A row is of no known type until `fromColumns` has read it. */
type AnyRow = Record<string, ColumnType<unknown, ColumnValue, ColumnValue>>;
const tables = {
  key: 'kmsKey',
  backingKey: 'backingKey',
  keyPolicy: 'keyPolicy',
  alias: 'alias',
  grant: 'keyGrant',
  accessKey: 'accessKey',
} as const satisfies Record<RecordKind, string>;
type Tables = Record<(typeof tables)[RecordKind] | 'serviceKey', AnyRow>;

/** Enough MACs in flight to hide a network HSM's round trip, few enough to leave room in the key store's queue. */
const maxMacsInFlight = 64;

/**
 * Opens the store, making or migrating its schema, and locks it against other processes.
 * @param options.path The file; its folder exists and is private.
 * @param options.mac First called by `load` or `write`: by then `serviceKey` has told which key it must use.
 * @throws StoreError
 */
export async function openSqliteStore(options: {
  readonly path: string;
  readonly mac: RecordMac;
}): Promise<SqliteStore> {
  const database = openDatabaseFile(options.path);
  const db = new Kysely<Tables>({ dialect: sqliteDialect(database), plugins: [new CamelCasePlugin()] });
  try {
    await migrateToLatest(db, options.path);
    const rows = await db.selectFrom('serviceKey').selectAll().execute();
    return new OpenSqliteStore({ ...options, database, db, serviceKeys: readServiceKeys(rows, options.path) });
  } catch (error) {
    database.close();
    throw asStoreError(error, 'open the metadata store', options.path);
  }
}

function readServiceKeys(rows: readonly Record<string, unknown>[], path: string): Map<string, BackingKeyId> {
  const serviceKeys = new Map<string, BackingKeyId>();
  for (const { purpose, backingKeyId } of rows) {
    const id = typeof backingKeyId === 'string' ? parseBackingKeyId(backingKeyId) : undefined;
    if (id === undefined) {
      throw new StoreError('damaged', `\`${path}\` names a service key by what is no id; restore it from a backup`);
    }
    serviceKeys.set(String(purpose), id);
  }
  return serviceKeys;
}

interface StoreParts {
  readonly path: string;
  readonly mac: RecordMac;
  readonly database: DatabaseSync;
  readonly db: Kysely<Tables>;
  readonly serviceKeys: Map<string, BackingKeyId>;
}

class OpenSqliteStore implements SqliteStore {
  readonly #parts: StoreParts;
  readonly #statements = new Map<string, StatementSync>();
  #lastWrite: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  serviceKey(purpose: ServiceKeyPurpose): BackingKeyId | undefined {
    return this.#parts.serviceKeys.get(purpose);
  }

  async nameServiceKey(purpose: ServiceKeyPurpose, backingKeyId: BackingKeyId): Promise<void> {
    const { db, serviceKeys, path } = this.#parts;
    await this.#inTurn(() => {
      const named = serviceKeys.get(purpose);
      if (named !== undefined) {
        throw new StoreError('serviceKeyNamed', `\`${path}\` already names \`${named}\` as its ${purpose} key`);
      }
      this.#transaction([db.insertInto('serviceKey').values({ purpose, backingKeyId }).compile()]);
      serviceKeys.set(purpose, backingKeyId);
    });
  }

  async deriveKey(purpose: 'grant-tokens'): Promise<Buffer> {
    this.#assertOpen();
    return this.#macOf(derivedKeyInput(purpose));
  }

  async load(): Promise<LoadedMetadata> {
    this.#assertOpen();
    const quarantined: QuarantinedRecord[] = [];
    return {
      key: await this.#loadKind('key', quarantined),
      backingKey: await this.#loadKind('backingKey', quarantined),
      keyPolicy: await this.#loadKind('keyPolicy', quarantined),
      alias: await this.#loadKind('alias', quarantined),
      grant: await this.#loadKind('grant', quarantined),
      accessKey: await this.#loadKind('accessKey', quarantined),
      quarantined,
    };
  }

  write(changes: readonly Change[]): Promise<void> {
    // Columns are taken now: what the caller does with its records afterwards changes nothing.
    let statements: Promise<readonly CompiledQuery[]>;
    try {
      this.#assertOpen();
      const prepared = changes.map((change) => prepareChange(change));
      statements = mapBounded(prepared, (change) => this.#compile(change));
    } catch (error) {
      return Promise.reject(error);
    }
    // Its turn comes later; until then nobody else listens to a MAC that failed.
    statements.catch(() => undefined);
    return this.#inTurn(async () => this.#transaction(await statements));
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#lastWrite;
    // Not `db.destroy()`: it closes the database only if Kysely was the one to open it.
    this.#statements.clear();
    this.#parts.database.close();
  }

  async #loadKind<Kind extends RecordKind>(
    kind: Kind,
    quarantined: QuarantinedRecord[],
  ): Promise<readonly MetadataRecords[Kind][]> {
    const { db, path } = this.#parts;
    const table: keyof Tables = tables[kind];
    let rows: readonly Record<string, unknown>[];
    try {
      rows = await db.selectFrom(table).selectAll().orderBy(primaryKeys[kind]).execute();
    } catch (error) {
      throw asStoreError(error, 'read the metadata store', path);
    }
    const records = await mapBounded(rows, async (row) => {
      const verified = await this.#verify(kind, row);
      if ('record' in verified) return verified.record;
      quarantined.push({ kind, id: String(row[primaryKeys[kind]]), reason: verified.reason });
      return undefined;
    });
    return records.flatMap((record) => record ?? []);
  }

  async #verify<Kind extends RecordKind>(
    kind: Kind,
    row: Readonly<Record<string, unknown>>,
  ): Promise<{ readonly record: MetadataRecords[Kind] } | { readonly reason: string }> {
    const format = typeof row['format'] === 'bigint' ? Number(row['format']) : Number.NaN;
    if (!isKnownFormat(kind, format)) return { reason: 'its format is not known to this version' };
    const parsed = fromColumns(kind, row);
    if ('badColumn' in parsed) return { reason: `its member ${parsed.badColumn} has a value that nothing here writes` };
    const covered = columnsOfFormat(kind, parsed.columns, format);
    const verifies = covered !== undefined && isMacEqual(await this.#mac(kind, covered, format), row['mac']);
    return verifies ? parsed : { reason: 'its MAC does not verify: it was edited or damaged' };
  }

  async #compile(change: PreparedChange): Promise<CompiledQuery> {
    const { db } = this.#parts;
    const { kind } = change;
    const table = tables[kind];
    if ('id' in change) {
      return db.deleteFrom(table).where(primaryKeys[kind], '=', change.id).compile();
    }
    const format = recordFormats[kind];
    const mac = (await this.#mac(kind, change.columns, format)).toString('hex');
    const row = { ...change.columns, format, mac };
    return db
      .insertInto(table)
      .values(row)
      .onConflict((conflict) => conflict.column(primaryKeys[kind]).doUpdateSet(row))
      .compile();
  }

  async #mac(kind: RecordKind, columns: Columns, format: number): Promise<Buffer> {
    return this.#macOf(canonicalRecord(kind, columns, format));
  }

  async #macOf(data: Buffer): Promise<Buffer> {
    const computed = await this.#parts.mac(data);
    if (computed.length !== macBytes) throw new TypeError(`a MAC has ${macBytes} bytes, not ${computed.length}`);
    return computed;
  }

  #inTurn<T>(task: () => T | Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(this.#closedError());
    const result = this.#lastWrite.then(task);
    this.#lastWrite = result.catch(() => undefined);
    return result;
  }

  #transaction(statements: readonly CompiledQuery[]): void {
    const { database, path } = this.#parts;
    try {
      database.exec('BEGIN IMMEDIATE');
      for (const statement of statements) this.#run(statement);
      database.exec('COMMIT');
    } catch (error) {
      // SQLite has rolled back by itself after some failures, and not after others.
      if (database.isTransaction) database.exec('ROLLBACK');
      throw asStoreError(error, 'write to the metadata store', path);
    }
  }

  #run({ sql, parameters }: CompiledQuery): void {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#parts.database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    statement.run(...parameters.map(inputValue));
  }

  #assertOpen(): void {
    if (this.#isClosed) throw this.#closedError();
  }

  #closedError(): StoreError {
    return new StoreError('closed', `the metadata store \`${this.#parts.path}\` is closed`);
  }
}

type PreparedChange =
  | { readonly kind: RecordKind; readonly columns: Columns }
  | { readonly kind: RecordKind; readonly id: string };

function prepareChange(change: Change): PreparedChange {
  if ('remove' in change) return { kind: change.remove, id: change.id };
  // `put` and `record` are of one kind by the type of `Change`, which TypeScript cannot carry through a call.
  return { kind: change.put, columns: toColumns(change.put, change.record as MetadataRecords[typeof change.put]) };
}

/** Results in the order of the items; at most `maxMacsInFlight` at a time; the first failure ends it. */
async function mapBounded<Item, Result>(
  items: readonly Item[],
  map: (item: Item) => Promise<Result>,
): Promise<readonly Result[]> {
  const results = new Array<Result>(items.length);
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) {
      // The index is inside the list.
      results[index] = await map(items[index] as Item);
    }
  };
  const workers = Array.from({ length: Math.min(maxMacsInFlight, items.length) }, worker);
  try {
    await Promise.all(workers);
  } finally {
    next = items.length;
  }
  return results;
}
