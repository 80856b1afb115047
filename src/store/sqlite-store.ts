/**
 * The metadata store in one SQLite file: `metadata-store.ts` kept, with `node:sqlite` under Kysely.
 *
 * Kysely compiles the statements; a write runs them in one synchronous transaction, so that nothing else of this process
 * comes between its statements, and blocks the process for the disk's sync (measured: 1 ms on a virtual disk), once the disk has
 * answered (`answering-disk.ts`). Writes are rare: changes of keys, and one per 65,536 encryptions.
 *
 * A load verifies every row before it returns any (`record-reader.ts`).
 *
 * MACs are computed before the transaction, by the HSM, for several records at once; the transactions follow in the order
 * of the calls (`transactions.ts`). When the HSM cannot compute one, its error is passed on as it is and nothing was changed. Every other
 * rejection is a `StoreError`. After `full` or `io` the transaction was rolled back, and the store can be used again;
 * when a crash comes before the next write, though, one that was rejected by a failing sync may be found to be there.
 */

import { dirname } from 'node:path';
import { CamelCasePlugin, Kysely } from 'kysely';
import type { BackingKeyId } from '../kms/names.ts';
import { readAhead } from '../secrets/file-ahead.ts';
import { AnsweringDisk } from './answering-disk.ts';
import { mapBounded } from './bounded-map.ts';
import { copyDatabase } from './copied-database.ts';
import { assertFormerRegion } from './former-region.ts';
import { HeadWrites } from './head-writes.ts';
import { readNodeId, readServiceKeys } from './instance-rows.ts';
import { scanMacs } from './mac-scan.ts';
import { MacsInForce } from './macs-in-force.ts';
import type {
  AuditHead,
  BegunMetadata,
  CopiedStore,
  DerivedKeyPurpose,
  LoadedMetadata,
  LoadOptions,
  MetadataStore,
  Progress,
  RecordMacs,
  StoreStanding,
} from './metadata-store.ts';
import { writeOverKnown } from './over-known.ts';
import { loadAll, loadAtStart, type RecordsRead, wantedAtStart } from './record-loads.ts';
import { derivedKeyInput, type RecordFormats, recordFormats } from './record-mac.ts';
import { callsAtOnce, macsOfCall } from './record-macs.ts';
import { type ReaderParts, RecordReader } from './record-reader.ts';
import { numerousKinds } from './record-source.ts';
import { type FormerRow, hasMoreKeys, prepareChange, roughCount, type Tables } from './record-statements.ts';
import { replacedInSum } from './record-sum.ts';
import { rewritesOf, writesOf } from './record-writes.ts';
import type { Change } from './records/changes.ts';
import { RecordsOnDemand } from './records-on-demand.ts';
import { ofFormerFormat, writeAnew, writeAnewIn } from './rows-of-former-formats.ts';
import { migrateToLatest } from './schema-migration.ts';
import { Scrubbing } from './scrubbing.ts';
import { assertRoot, claimedHead, type NextRoot, removalOfRoots, rootRows, SignedRoot } from './signed-root.ts';
import { openDatabaseFile, rowsOf, sqliteDialect } from './sqlite-database.ts';
import { asStoreError, StoreError } from './store-error.ts';
import { StoreIndexes } from './store-indexes.ts';
import { type Replaced, Transactions, type Write } from './transactions.ts';
import { VerifiedRows } from './verified-rows.ts';

/** What a service key is for, as its row and its label in the HSM say. */
export type ServiceKeyPurpose = 'metadata-integrity' | 'access-key-encryption' | 'session-credentials';

export interface SqliteStore extends MetadataStore {
  /** The service key of this purpose, as the store names it; `undefined` when it names none, as a new store does. */
  serviceKey(purpose: ServiceKeyPurpose): BackingKeyId | undefined;
  /** The head of the audit log that the file says was noted. Nothing verifies it before `load`: a hint of where to look closely. */
  claimedAuditHead(): AuditHead | null;
  /** Names it, once for each purpose. @throws StoreError `serviceKeyNamed`. */
  nameServiceKey(purpose: ServiceKeyPurpose, backingKeyId: BackingKeyId): Promise<void>;
}

/** So many records are verified before anybody is served: a quarter of a second. Of more, those that are asked for come first. */
const verifiedAtStart = 4096;

/**
 * Opens the store, making or migrating its schema, and locks it against other processes.
 * @param options.path The file; its folder exists and is private.
 * @param options.macs First called by `load` or `write`: by then `serviceKey` has told which key it must use.
 * @param options.formerRegion The Region of what was written before records had one.
 * @param options.formats Others than today's: how those that are yet to come will read what today's wrote.
 * @param options.intentsFolder Where intents of changes are put on record before they are written; absent: that is not known.
 * @throws StoreError
 */
export async function openSqliteStore(options: {
  readonly path: string;
  readonly macs: RecordMacs;
  readonly formerRegion: string;
  readonly formats?: RecordFormats;
  readonly intentsFolder?: string | undefined;
}): Promise<SqliteStore> {
  const database = openDatabaseFile(options.path);
  const db = new Kysely<Tables>({ dialect: sqliteDialect(database), plugins: [new CamelCasePlugin()] });
  try {
    await readAhead(options.path);
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

interface StoreParts extends ReaderParts {
  readonly serviceKeys: Map<string, BackingKeyId>;
  readonly nodeId: string;
  readonly intentsFolder?: string | undefined;
}

class OpenSqliteStore implements SqliteStore {
  readonly #parts: StoreParts;
  readonly #reader: RecordReader;
  readonly #transactions: Transactions;
  readonly #scrubbing: Scrubbing;
  #lastWrite: Promise<unknown> = Promise.resolve();
  /** Of what was loaded and written since. */
  #root: SignedRoot | undefined;
  #standingAtLoad: StoreStanding | undefined;
  /** Those that were loaded and written since: no other row is read or replaced. */
  #inForce: MacsInForce | undefined;
  /** Told of what is written; absent while all records are in memory. */
  #onDemand: RecordsOnDemand | undefined;
  #indexes: StoreIndexes | undefined;
  readonly #disk: AnsweringDisk;
  readonly #headWrites: HeadWrites;
  #isClosed = false;

  constructor(parts: StoreParts) {
    this.#parts = parts;
    this.#reader = new RecordReader(parts);
    this.#disk = new AnsweringDisk(dirname(parts.path));
    this.#headWrites = new HeadWrites(this.#disk, () => this.#inTurn(() => this.#writeHead()));
    this.#scrubbing = new Scrubbing(parts.database, parts.path);
    this.#transactions = new Transactions(parts.database, parts.path, () => this.#scrubbing.follow());
  }

  get nodeId(): string {
    return this.#parts.nodeId;
  }

  serviceKey(purpose: ServiceKeyPurpose): BackingKeyId | undefined {
    return this.#parts.serviceKeys.get(purpose);
  }

  claimedAuditHead(): AuditHead | null {
    return claimedHead([...rowsOf(this.#parts.database, rootRows(this.#parts.db))]);
  }

  async nameServiceKey(purpose: ServiceKeyPurpose, backingKeyId: BackingKeyId): Promise<void> {
    const { db, serviceKeys, path } = this.#parts;
    await this.#inTurn(async () => {
      // The one that keys are derived from is named before there can be a root.
      const root = purpose === 'metadata-integrity' ? undefined : await this.#loadedRoot();
      const named = serviceKeys.get(purpose);
      if (named !== undefined) {
        throw new StoreError('serviceKeyNamed', `\`${path}\` already names \`${named}\` as its ${purpose} key`);
      }
      const statement = db.insertInto('serviceKey').values({ purpose, backingKeyId }).compile();
      serviceKeys.set(purpose, backingKeyId);
      try {
        if (root === undefined) this.#transactions.run([{ statement }]);
        else this.#transaction(root, [{ statement }]);
      } catch (error) {
        serviceKeys.delete(purpose);
        throw error;
      }
    });
  }

  async deriveKey(purpose: DerivedKeyPurpose): Promise<Buffer> {
    this.#assertOpen();
    return this.#derive(purpose);
  }

  async #derive(purpose: DerivedKeyPurpose): Promise<Buffer> {
    const [key] = await macsOfCall(this.#parts.macs, [derivedKeyInput(purpose)]);
    return key as Buffer; // There is one MAC for one message.
  }

  load(progress: Progress = () => undefined, options: LoadOptions = {}) {
    return this.#inTurn(() => this.#load(progress, options));
  }

  begin(maxKeysInMemory: number, progress: Progress = () => undefined, options: LoadOptions = {}) {
    return this.#inTurn(async (): Promise<BegunMetadata> => {
      const isOnDemand = hasMoreKeys(this.#parts, maxKeysInMemory);
      const loaded = await (isOnDemand ? this.#loadAtStart(progress, options) : this.#load(progress, options));
      this.#indexes = new StoreIndexes(this.#parts);
      return { loaded, source: isOnDemand ? this.#onDemand : undefined, indexes: this.#indexes };
    });
  }

  standing(): StoreStanding {
    if (this.#root === undefined) throw new TypeError('the records were not loaded');
    return this.#root.standing();
  }

  standingAtLoad(): StoreStanding {
    if (this.#standingAtLoad === undefined) throw new TypeError('the records were not loaded');
    return this.#standingAtLoad;
  }

  async write(changes: readonly Change[], options: { readonly intentId?: string | undefined } = {}): Promise<void> {
    // Columns are taken now: what the caller does with its records afterwards changes nothing.
    this.#assertOpen();
    const prepared = changes.map(prepareChange);
    const writes = writesOf(this.#parts, prepared);
    // Its turn comes later; until then nobody else listens to a MAC that failed.
    writes.catch(() => undefined);
    return this.#inTurn(async () => {
      const [root, all] = [await this.#loadedRoot(), await writes];
      // An intent has waited for the disk that it is on.
      if (options.intentId === undefined || !(await this.#disk.has(this.#parts.intentsFolder)))
        await this.#disk.answers();
      if (all.length === 0) return;
      const over = { reader: this.#reader, transactions: this.#transactions, inForce: this.#inForce };
      await writeOverKnown({ ...over, onDemand: this.#onDemand }, prepared, (known) =>
        this.#transaction(root, all, (records) => root.after(known(records), options.intentId)),
      );
    });
  }

  noteAuditHead(head: AuditHead): void {
    this.#root?.note(head);
    this.#headWrites.noted();
  }

  accept(epoch: number, changes: readonly Change[] = []): Promise<void> {
    return this.#inTurn(async () => {
      const root = await this.#loadedRoot();
      if (epoch <= root.standing().epoch) throw new TypeError(`epoch ${epoch} was there before`);
      const writes = await writesOf(this.#parts, changes.map(prepareChange));
      // Whatever rows there are make room for one.
      const rows = [...rowsOf(this.#parts.database, rootRows(this.#parts.db))];
      const removed = root.isInFile() || rows.length === 0 ? [] : [removalOfRoots(this.#parts.db, rows.length)];
      const next = writes.length === 0 ? epoch : epoch + 1;
      this.#transaction(root, [...removed, ...writes], (records) => root.accepting(records, next));
    });
  }

  async reread(changes: readonly Change[]): Promise<readonly Change[]> {
    this.#assertOpen();
    return mapBounded(changes.map(prepareChange), callsAtOnce, (change) => this.#reader.reread(change, this.#inForce));
  }

  copyTo(path: string): Promise<CopiedStore> {
    this.#assertOpen();
    return copyDatabase(this.#parts.database, this.#parts.db, path);
  }

  async scrub(): Promise<void> {
    this.#assertOpen();
    await this.#scrubbing.scrub((task) => this.#inTurn(task));
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#headWrites.end();
    await this.#lastWrite;
    try {
      this.#writeHead();
    } catch {
      // A disk that takes nothing more: the head that is there says less, and nothing wrong.
    }
    await this.#scrubbing.end();
    // Not `db.destroy()`: it closes the database only if Kysely was the one to open it.
    this.#transactions.close();
    this.#scrubbing.close();
  }

  async #load(progress: Progress, options: LoadOptions): Promise<LoadedMetadata> {
    return this.#written(await this.#read(options.acceptedState), progress, options);
  }

  /** What was read, with rows of former formats written anew. */
  async #written(
    { loaded, former, root }: RecordsRead & { readonly root: SignedRoot },
    progress: Progress,
    { acceptedState, assertFits }: LoadOptions,
  ): Promise<LoadedMetadata> {
    assertFits?.(root.standing());
    assertFormerRegion(loaded, former, this.#parts);
    // Signed as they are by `accept`; written anew by whoever loads next.
    if (acceptedState !== undefined) return loaded;
    await writeAnew(former, (some) => this.#writeAnew(root, some), progress);
    return loaded;
  }

  async #writeAnew(root: SignedRoot, some: readonly FormerRow[]): Promise<void> {
    this.#transaction(root, await rewritesOf(this.#parts, some));
  }

  /** The records and their root, verified. */
  async #read(acceptedState?: string) {
    const root = await this.#newRoot();
    const inForce = new MacsInForce(roughCount(this.#parts, numerousKinds));
    let sum = 0n;
    const macs = (stored: readonly unknown[]): void => {
      sum = replacedInSum(sum, 0n, root.sums.sumOf(stored));
      for (const mac of stored) inForce.add(mac);
    };
    const read = await loadAll(this.#reader, macs);
    this.#take(root, sum, acceptedState);
    this.#inForce = inForce;
    return { ...read, root };
  }

  /** As few records as it takes to begin, and the root over all. */
  async #loadAtStart(progress: Progress, options: LoadOptions): Promise<LoadedMetadata> {
    const { database, path, formats } = this.#parts;
    const root = await this.#newRoot();
    const { sum, count, macs, wanted, former } = scanMacs(database, root.sums, path, {
      wanted: wantedAtStart,
      former: ofFormerFormat(formats),
      expected: roughCount(this.#parts, numerousKinds),
    });
    const read = await loadAtStart(this.#reader, this.#parts, wanted);
    this.#take(root, sum, undefined);
    this.#inForce = macs;
    const bytes = options.packedKeyBytes ?? 0;
    const rows = new VerifiedRows(formats, this.#reader, { records: count, arePacked: bytes > 0 }, macs);
    this.#onDemand = new RecordsOnDemand(this.#parts, rows, read.loaded, {
      bytes,
      keys: roughCount(this.#parts, ['key']),
    });
    if (count <= verifiedAtStart) await this.#onDemand.verifyAll();
    const loaded = await this.#written({ ...read, root }, progress, options);
    const write = (some: readonly FormerRow[]) => this.#writeAnew(root, some);
    if (options.acceptedState === undefined) await writeAnewIn(former, this.#reader, this.#parts, write, progress);
    return loaded;
  }

  async #newRoot(): Promise<SignedRoot> {
    this.#root = undefined; // Nothing is written after a load that failed.
    return new SignedRoot(this.#parts, await this.#derive('metadata-root'));
  }

  /** @throws StoreError `altered`. */
  #take(root: SignedRoot, sum: bigint, acceptedState: string | undefined): void {
    const { db, database, path } = this.#parts;
    const found = root.take([...rowsOf(database, rootRows(db))], sum);
    const standing = root.standing();
    assertRoot(found, standing, path, acceptedState);
    this.#standingAtLoad = standing;
    this.#root = root;
  }

  async #loadedRoot(): Promise<SignedRoot> {
    return this.#root ?? (await this.#read()).root;
  }

  /** Writes records and their root. */
  #transaction(
    root: SignedRoot,
    writes: readonly Write[],
    nextRoot: (records: Replaced) => NextRoot = (records) => root.after(records, undefined),
  ): void {
    let done: { readonly next: NextRoot; readonly records: Replaced } | undefined;
    this.#transactions.run(writes, (records) => {
      if (this.#inForce?.haveAll(records) === false) throw this.#transactions.altered();
      done = { next: nextRoot(records), records };
      return done.next.write;
    });
    if (done === undefined) return;
    root.become(done.next);
    for (const follower of [this.#inForce, this.#onDemand, this.#indexes]) follower?.follow(done.records);
  }

  #writeHead(): void {
    if (this.#root?.hasNews() !== true) return;
    const next = this.#root.withHead();
    this.#transactions.run([next.write]);
    this.#root.become(next);
  }

  #inTurn<T>(task: () => T | Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(this.#closedError());
    const result = this.#lastWrite.then(task);
    this.#lastWrite = result.catch(() => undefined);
    return result;
  }

  #assertOpen(): void {
    if (this.#isClosed) throw this.#closedError();
  }

  #closedError(): StoreError {
    return new StoreError('closed', `the metadata store \`${this.#parts.path}\` is closed`);
  }
}
