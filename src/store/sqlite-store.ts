/**
 * The metadata store in one SQLite file: `metadata-store.ts` kept, with `node:sqlite` under Kysely.
 *
 * Kysely compiles the statements; a write runs them in one synchronous transaction, so that nothing else of this process
 * comes between its statements, and blocks the process for the disk's sync (measured: 1 ms on a virtual disk). Writes are
 * rare: changes of keys, and one per 65,536 encryptions.
 *
 * A load reads row by row and verifies each before it returns any: rows wait for their MACs, hundreds at a time, and not for each
 * other.
 *
 * MACs are computed before the transaction, by the HSM, for several records at once; the transactions follow in the order
 * of the calls. A statement that does not find its record in the version that it replaces ends the transaction. When the HSM cannot compute one, its error is passed on as it is and nothing was changed. Every other
 * rejection is a `StoreError`. After `full` or `io` the transaction was rolled back, and the store can be used again;
 * when a crash comes before the next write, though, one that was rejected by a failing sync may be found to be there.
 */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { CamelCasePlugin, type CompiledQuery, Kysely } from 'kysely';
import type { BackingKeyId } from '../kms/names.ts';
import { mapBounded } from './bounded-map.ts';
import { readNodeId, readServiceKeys } from './instance-rows.ts';
import type { LoadedMetadata, MetadataStore, QuarantinedRecord, RecordMac } from './metadata-store.ts';
import { migrateToLatest } from './migrations.ts';
import { type Columns, fromColumns } from './record-columns.ts';
import {
  canonicalRecord,
  columnsOfFormat,
  derivedKeyInput,
  isKnownFormat,
  isMacEqual,
  macBytes,
  newestFormat,
  type RecordFormats,
  recordFormats,
} from './record-mac.ts';
import {
  allRows,
  type FormerRow,
  idMember,
  isRecord,
  type PreparedChange,
  prepareChange,
  type Row,
  removal,
  rewriting,
  type Tables,
  tables,
  writing,
} from './record-statements.ts';
import { added, type Change } from './records/changes.ts';
import type { MetadataRecords, RecordKind } from './records/records.ts';
import { SharedTexts } from './shared-texts.ts';
import { inputValue, openDatabaseFile, rowsOf, sqliteDialect } from './sqlite-database.ts';
import { asStoreError, StoreError } from './store-error.ts';

/** What a service key is for, as its row and its label in the HSM say. */
export type ServiceKeyPurpose = 'metadata-integrity' | 'access-key-encryption' | 'session-credentials';

export interface SqliteStore extends MetadataStore {
  /** The service key of this purpose, as the store names it; `undefined` when it names none, as a new store does. */
  serviceKey(purpose: ServiceKeyPurpose): BackingKeyId | undefined;
  /** Names it, once for each purpose. @throws StoreError `serviceKeyNamed`. */
  nameServiceKey(purpose: ServiceKeyPurpose, backingKeyId: BackingKeyId): Promise<void>;
}

/** Records of former formats that are written anew in one transaction. */
const rewritesPerTransaction = 1_000;

/**
 * Opens the store, making or migrating its schema, and locks it against other processes.
 * @param options.path The file; its folder exists and is private.
 * @param options.mac First called by `load` or `write`: by then `serviceKey` has told which key it must use.
 * @param options.formerRegion The Region of what was written before records had one.
 * @param options.formats Others than today's: how those that are yet to come will read what today's wrote.
 * @throws StoreError
 */
export async function openSqliteStore(options: {
  readonly path: string;
  readonly mac: RecordMac;
  readonly formerRegion: string;
  readonly formats?: RecordFormats;
}): Promise<SqliteStore> {
  const database = openDatabaseFile(options.path);
  const db = new Kysely<Tables>({ dialect: sqliteDialect(database), plugins: [new CamelCasePlugin()] });
  try {
    await migrateToLatest(db, options.path);
    const rows = await db.selectFrom('serviceKey').selectAll().execute();
    const [node] = await db.selectFrom('node').selectAll().execute();
    return new OpenSqliteStore({
      formats: recordFormats,
      ...options,
      database,
      db,
      serviceKeys: readServiceKeys(rows, options.path),
      nodeId: readNodeId(node, options.path),
    });
  } catch (error) {
    database.close();
    throw asStoreError(error, 'open the metadata store', options.path);
  }
}

interface StoreParts {
  readonly path: string;
  readonly mac: RecordMac;
  readonly database: DatabaseSync;
  readonly db: Kysely<Tables>;
  readonly serviceKeys: Map<string, BackingKeyId>;
  readonly nodeId: string;
  readonly formerRegion: string;
  readonly formats: RecordFormats;
}

type Verified<Kind extends RecordKind> =
  | { readonly record: MetadataRecords[Kind]; readonly columns: Columns; readonly isFormer: boolean }
  | { readonly reason: string };

/** A row as it stands in the file, of whatever types somebody may have put there. */
type LoadedRow = Readonly<Record<string, unknown>>;

/** What a load finds beside the records. */
interface Findings {
  readonly quarantined: QuarantinedRecord[];
  /** What has to be written anew. */
  readonly former: FormerRow[];
  readonly texts: SharedTexts;
}

class OpenSqliteStore implements SqliteStore {
  readonly #parts: StoreParts;
  readonly #statements = new Map<string, StatementSync>();
  #lastWrite: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  get nodeId(): string {
    return this.#parts.nodeId;
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
      const query = db.insertInto('serviceKey').values({ purpose, backingKeyId }).compile();
      this.#transaction([query]);
      serviceKeys.set(purpose, backingKeyId);
    });
  }

  async deriveKey(purpose: Parameters<MetadataStore['deriveKey']>[0]): Promise<Buffer> {
    this.#assertOpen();
    return this.#macOf(derivedKeyInput(purpose));
  }

  async load(progress: (written: number, total: number) => void = () => undefined): Promise<LoadedMetadata> {
    this.#assertOpen();
    const quarantined: QuarantinedRecord[] = [];
    const former: FormerRow[] = [];
    const texts = new SharedTexts();
    const loaded = {
      key: await this.#loadKind('key', { quarantined, former, texts }),
      backingKey: await this.#loadKind('backingKey', { quarantined, former, texts }),
      keyPolicy: await this.#loadKind('keyPolicy', { quarantined, former, texts }),
      alias: await this.#loadKind('alias', { quarantined, former, texts }),
      grant: await this.#loadKind('grant', { quarantined, former, texts }),
      accessKey: await this.#loadKind('accessKey', { quarantined, former, texts }),
      tombstone: await this.#loadKind('tombstone', { quarantined, former, texts }),
      lastUse: await this.#loadKind('lastUse', { quarantined, former, texts }),
      wrappingKey: await this.#loadKind('wrappingKey', { quarantined, former, texts }),
      milestone: await this.#loadKind('milestone', { quarantined, former, texts }),
      upkeepWait: await this.#loadKind('upkeepWait', { quarantined, former, texts }),
      quarantined,
    };
    this.#assertFormerRegion(loaded, former);
    for (let first = 0; first < former.length; first += rewritesPerTransaction) {
      const some = former.slice(first, first + rewritesPerTransaction);
      const { db } = this.#parts;
      this.#transaction(await mapBounded(some, async (row) => rewriting(db, row, await this.#rowOf(row.anew))));
      progress(Math.min(first + rewritesPerTransaction, former.length), former.length);
    }
    return loaded;
  }

  write(changes: readonly Change[]): Promise<void> {
    // Columns are taken now: what the caller does with its records afterwards changes nothing.
    let statements: Promise<readonly CompiledQuery[]>;
    try {
      this.#assertOpen();
      const prepared = changes.map(prepareChange);
      statements = mapBounded(prepared, (change) => this.#statementOf(change));
    } catch (error) {
      return Promise.reject(error);
    }
    // Its turn comes later; until then nobody else listens to a MAC that failed.
    statements.catch(() => undefined);
    return this.#inTurn(async () => this.#transaction(await statements));
  }

  async reread(changes: readonly Change[]): Promise<readonly Change[]> {
    this.#assertOpen();
    const { db, path } = this.#parts;
    return mapBounded(changes.map(prepareChange), async ({ kind, columns, change }) => {
      let row: Readonly<Record<string, unknown>> | undefined;
      try {
        row = await db.selectFrom(tables[kind]).selectAll().where(isRecord(kind, columns)).executeTakeFirst();
      } catch (error) {
        throw asStoreError(error, 'read the metadata store', path);
      }
      // Another one's removal, told of the record as it was seen here. Kind and record are those of the one change.
      if (row === undefined) return { remove: kind, record: change.record } as Change;
      const verified = await this.#verify(kind, row);
      if ('record' in verified) return added(kind, verified.record);
      throw new StoreError('damaged', `a record in \`${path}\` is refused: ${verified.reason}`);
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#lastWrite;
    // Not `db.destroy()`: it closes the database only if Kysely was the one to open it.
    this.#statements.clear();
    this.#parts.database.close();
  }

  async #loadKind<Kind extends RecordKind>(kind: Kind, findings: Findings): Promise<readonly MetadataRecords[Kind][]> {
    const records = await mapBounded(this.#rowsOf(kind, findings), (row) => this.#loadRow(kind, row, findings));
    return records.filter((record) => record !== undefined);
  }

  *#rowsOf(kind: RecordKind, { texts }: Findings): Generator<LoadedRow> {
    const { db, database, path } = this.#parts;
    const query = allRows(db, kind);
    try {
      for (const row of rowsOf(database, query)) {
        texts.share(kind, row);
        yield row;
      }
    } catch (error) {
      throw asStoreError(error, 'read the metadata store', path);
    }
  }

  /** @returns The record; `undefined` for a row that is quarantined. */
  async #loadRow<Kind extends RecordKind>(
    kind: Kind,
    row: LoadedRow,
    { quarantined, former }: Findings,
  ): Promise<MetadataRecords[Kind] | undefined> {
    const { formerRegion } = this.#parts;
    // It was put back beside the one that it became.
    const isSuperseded = row['region'] === '' && this.#hasToday(kind, row[idMember(kind)]);
    const verified = isSuperseded ? { reason: 'a later version of it is on record' } : await this.#verify(kind, row);
    if ('record' in verified) {
      const { columns, isFormer } = verified;
      if (isFormer) former.push({ columns, anew: prepareChange(added(kind, verified.record)) });
      return verified.record;
    }
    const region = 'region' in row ? String(row['region']) : null;
    quarantined.push({
      kind,
      id: String(row[idMember(kind)]),
      // It is missed in the Region of all that was written in its time, unless its successor is there.
      region: region === '' && !isSuperseded ? formerRegion : region,
      reason: verified.reason,
    });
    return undefined;
  }

  /** Is there a record of this id in the Region of what was written before there were Regions? */
  #hasToday(kind: RecordKind, id: unknown): boolean {
    if (typeof id !== 'string') return false;
    const { db, database, formerRegion, path } = this.#parts;
    const query = db.selectFrom(tables[kind] as keyof Tables).select('region');
    const today = query.where('region', '=', formerRegion).where(idMember(kind), '=', id).compile();
    try {
      // A loop that is left ends the statement, too.
      for (const _row of rowsOf(database, today)) return true;
      return false;
    } catch (error) {
      throw asStoreError(error, 'read the metadata store', path);
    }
  }

  /** An interrupted `load` is gone on with in the same Region, or the rest of the records would come into another one. */
  #assertFormerRegion(loaded: LoadedMetadata, former: readonly FormerRow[]): void {
    const { formerRegion, path } = this.#parts;
    const anew = new Set<unknown>(
      former.flatMap((row) => (row.columns['region'] === '' ? row.anew.change.record : [])),
    );
    const regional = [...loaded.key, ...loaded.keyPolicy, ...loaded.alias, ...loaded.grant];
    const written = regional.filter((record) => !anew.has(record));
    const [other] = written;
    if (other === undefined || anew.size === 0 || written.some(({ region }) => region === formerRegion)) return;
    throw new StoreError(
      'otherRegion',
      `\`${path}\` has records of the Region \`${other.region}\`, and others that have yet to follow them there, not to \`${formerRegion}\`; set \`region: ${other.region}\``,
    );
  }

  /** `columns`: as they stand in the row. `isFormer`: it was written in another format than the newest. */
  async #verify<Kind extends RecordKind>(kind: Kind, row: Readonly<Record<string, unknown>>): Promise<Verified<Kind>> {
    const formats = this.#parts.formats[kind];
    const format = typeof row['format'] === 'bigint' ? Number(row['format']) : Number.NaN;
    if (!isKnownFormat(formats, format)) return { reason: 'its format is not known to this version' };
    const parsed = fromColumns(kind, row);
    if ('badColumn' in parsed) return { reason: `its member ${parsed.badColumn} has a value that nothing here writes` };
    const { record, columns } = parsed;
    const covered = columnsOfFormat(formats, columns, format);
    const verifies = covered !== undefined && isMacEqual(await this.#mac(kind, covered, format), row['mac']);
    if (!verifies) return { reason: 'its MAC does not verify: it was edited or damaged' };
    const lacksRegion = 'region' in columns && !('region' in covered);
    return {
      record: lacksRegion ? { ...record, region: this.#parts.formerRegion } : record,
      columns,
      isFormer: format !== newestFormat(formats),
    };
  }

  async #statementOf(change: PreparedChange): Promise<CompiledQuery> {
    const { db } = this.#parts;
    return 'remove' in change.change ? removal(db, change) : writing(db, change, await this.#rowOf(change));
  }

  async #rowOf({ kind, columns }: PreparedChange): Promise<Row> {
    const format = newestFormat(this.#parts.formats[kind]);
    const mac = (await this.#mac(kind, columns, format)).toString('hex');
    return { ...columns, format, mac };
  }

  #mac(kind: RecordKind, columns: Columns, format: number): Promise<Buffer> {
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

  /** Every statement puts or removes exactly one row, or the transaction ends. */
  #run({ sql: text, parameters }: CompiledQuery): void {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#parts.database.prepare(text);
      this.#statements.set(text, statement);
    }
    const { changes } = statement.run(...parameters.map(inputValue));
    if (Number(changes) !== 1) {
      throw new StoreError('conflict', 'a record is not there in the version that the change was decided on');
    }
  }

  #assertOpen(): void {
    if (this.#isClosed) throw this.#closedError();
  }

  #closedError(): StoreError {
    return new StoreError('closed', `the metadata store \`${this.#parts.path}\` is closed`);
  }
}
