/**
 * `record-source.ts` over SQLite: statements that are prepared once, and rows of which each is judged (`verified-rows.ts`).
 *
 * An index that somebody edited can keep a record from being found, and can lead to another one: that one's members are compared with
 * what was asked for, and it is none of those that were.
 */

import { type SqlBool, sql } from 'kysely';
import type { GrantId } from '../kms/grant-terms.ts';
import type { AliasName, KeyId } from '../kms/names.ts';
import { mapBounded } from './bounded-map.ts';
import { KeysOnRecord } from './keys-on-record.ts';
import type { LoadedMetadata } from './metadata-store.ts';
import { highestRow, lowestRow, type PreparedRead, PreparedReads } from './prepared-reads.ts';
import type { QuarantinedRecord } from './quarantined-record.ts';
import { callsAtOnce, macsPerCall } from './record-macs.ts';
import type { ReaderParts } from './record-reader.ts';
import {
  isNumerous,
  type KeyFound,
  type KeysVerified,
  type MaterialPage,
  type Members,
  type NamesFound,
  type NumerousKind,
  numerousKinds,
  type RecordSource,
  UnverifiedRecords,
  type WrappedOtherwise,
} from './record-source.ts';
import { idMember, selection, sqlNames, tables } from './record-statements.ts';
import type { MetadataRecords, RecordKind } from './records/records.ts';
import type { Replaced } from './transactions.ts';
import type { RoomForKeys } from './verified-keys.ts';
import type { Row, SeenRow, VerifiedRows } from './verified-rows.ts';

export class RecordsOnDemand implements RecordSource {
  readonly #parts: ReaderParts;
  readonly #rows: VerifiedRows;
  readonly #reads: PreparedReads;
  readonly #keys: KeysOnRecord;
  #isVerified = false;

  /**
   * @param rows Judges those of `parts`.
   * @param atStart What was verified already.
   * @param room For keys that were read, packed, so that they are not read again.
   */
  constructor(parts: ReaderParts, rows: VerifiedRows, atStart: LoadedMetadata, room: RoomForKeys) {
    this.#parts = parts;
    this.#rows = rows;
    this.#reads = new PreparedReads(parts.database, parts.path);
    this.#keys = new KeysOnRecord(parts, this.#reads, rows, room);
    rows.take(atStart);
    parts.database.exec(`PRAGMA cache_size = -${cacheKibibytes}`);
  }

  get isVerified(): boolean {
    return this.#isVerified;
  }

  whenRefused(listener: (record: QuarantinedRecord) => void): void {
    this.#rows.whenRefused(listener);
  }

  select<Kind extends NumerousKind>(kind: Kind, members: Members<Kind>): readonly MetadataRecords[Kind][] {
    const [names, values] = [Object.keys(members), Object.values<string | undefined>(members)];
    const statement = this.#reads.named(`${kind} ${names.join(' ')}`, () => {
      const { db } = this.#parts;
      return names.reduce((query, name) => query.where(name, '=', ''), selection(db, kind)).compile().sql;
    });
    return this.#recordsOf(kind, this.#reads.all(statement, values), members);
  }

  readKey(region: string, keyId: KeyId): KeyFound | undefined {
    return this.#keys.read(region, keyId);
  }

  get keysAtHand(): number {
    return this.#keys.atHand;
  }

  verifyKeys(from: bigint, limit: number): Promise<KeysVerified> {
    return this.#keys.verify(from, limit);
  }

  has<Kind extends NumerousKind>(kind: Kind, members: Members<Kind>): boolean {
    if (kind === 'key' && this.#keys.areAtHand(members)) return true;
    const names = Object.keys(members);
    const statement = this.#reads.named(`has ${kind} ${names.join(' ')}`, () => {
      const one = this.#parts.db.selectFrom(tables[kind] as never).select(sql`1`.as('one'));
      return names
        .reduce((query, name) => query.where(name as never, '=', '' as never), one)
        .limit(sql.lit(1))
        .compile().sql;
    });
    return this.#reads.all(statement, Object.values<string | undefined>(members)).length > 0;
  }

  problemOf(kind: NumerousKind, id: string, region: string | null): string | undefined {
    return this.#rows.problemOf(kind, id, region);
  }

  keyIds(region: string, after: string | undefined, limit: number): NamesFound<KeyId> {
    return this.#names<KeyId>('key', { region }, after, limit);
  }

  aliases(region: string, after: string | undefined, limit: number): ReturnType<RecordSource['aliases']> {
    const { names, truncated } = this.#names<AliasName>('alias', { region }, after, limit);
    const [first, last] = [names[0], names.at(-1)];
    if (first === undefined || last === undefined) return { names, truncated, records: [] };
    const statement = this.#reads.named('aliases', () => {
      const ofRegion = selection(this.#parts.db, 'alias').where('region', '=', '');
      return ofRegion.where('aliasName', '>=', '').where('aliasName', '<=', '').compile().sql;
    });
    const records = this.#recordsOf('alias', this.#reads.all(statement, [region, first, last]), { region });
    return { names, truncated, records };
  }

  grantIds(region: string, retiring: string, after: string | undefined, limit: number): NamesFound<GrantId> {
    return this.#names<GrantId>('grant', { region, retiring }, after, limit);
  }

  /** An index has all that this takes. */
  #names<Name extends string>(
    kind: 'key' | 'alias' | 'grant',
    members: { readonly region: string; readonly retiring?: string },
    after: string | undefined,
    limit: number,
  ): NamesFound<Name> {
    const id = idMember(kind);
    const statement = this.#reads.named(`names ${kind}`, () => {
      const all = this.#parts.db.selectFrom(tables[kind]).select(id);
      const these = Object.keys(members).reduce((query, name) => query.where(name, '=', ''), all);
      return these.where(id, '>', '').orderBy(id).limit(1).compile().sql;
    });
    const rows = this.#reads.all(statement, [...Object.values(members), after ?? '', limit + 1]);
    const names = rows.slice(0, limit).map(([name]) => String(name));
    const sound = names.filter((name) => this.problemOf(kind, name, members.region) === undefined);
    const truncated = rows.length > limit;
    // A page of nothing would be the last one for whoever reads on behind its last name.
    if (sound.length === 0 && truncated) return this.#names(kind, members, names.at(-1), limit);
    return { names: sound as Name[], truncated };
  }

  count(kind: Exclude<NumerousKind, 'backingKey'>, region: string): number {
    const statement = this.#reads.named(
      `count ${kind}`,
      () => `select count(*) from ${sqlNames[kind]} where region = ?`,
    );
    const [row = []] = this.#reads.all(statement, [region]);
    return Number(row[0]);
  }

  materialsIn(keyStore: string): readonly MetadataRecords['backingKey'][] {
    // As the index of them has it.
    const inToken = this.#reads.named('materials in', () => {
      const all = selection(this.#parts.db, 'backingKey').where('keyStore', '=', '');
      return all.where(sql<SqlBool>`(residency <> 'wrapped' or state <> 'Active')`).compile().sql;
    });
    const other = this.#reads.named('other material in', () => {
      const all = selection(this.#parts.db, 'backingKey').where('keyStore', '=', '');
      return all
        .where(sql<SqlBool>`wrapped_key <> '' and residency = 'wrapped' and state = 'Active'`)
        .limit(1)
        .compile().sql;
    });
    const rows = [...this.#reads.all(inToken, [keyStore]), ...this.#reads.all(other, [keyStore, 1])];
    return this.#recordsOf('backingKey', rows, { keyStore });
  }

  wrappedOtherwise({ keyStore, region, domainKeyId }: WrappedOtherwise, from: bigint, limit: number): MaterialPage {
    const statement = this.#reads.named('wrapped otherwise', () => {
      const some = this.#materialBehind().where('keyStore', '=', '');
      const those = some.where(
        sql<SqlBool>`state = 'Active' and wrapped_key <> '' and domain_key_id <> ${''} and ${isOfRegion}`,
      );
      return those.orderBy(sql`rowid`).limit(1).compile().sql;
    });
    return this.#pageOf(statement, from, [keyStore, domainKeyId, region], limit, { keyStore });
  }

  wrapped(from: bigint, limit: number): MaterialPage {
    const statement = this.#reads.named('wrapped', () => {
      // The plus has it go by no index of those that are.
      const some = this.#materialBehind().where(sql<SqlBool>`+wrapped_key <> ''`);
      return some.orderBy(sql`rowid`).limit(1).compile().sql;
    });
    return this.#pageOf(statement, from, [], limit, {});
  }

  #materialBehind() {
    const behind = selection(this.#parts.db, 'backingKey').select(sql`rowid`.as('rowid'));
    return behind.where(sql<SqlBool>`rowid >= ${0} and rowid <= ${0}`);
  }

  /** @param statement Takes two row numbers, then `values`, then a limit. */
  #pageOf(
    statement: PreparedRead,
    from: bigint,
    values: readonly string[],
    limit: number,
    members: Members<'backingKey'>,
  ): MaterialPage {
    const first = this.#reads.named('first row', () => 'select min(rowid) from backing_key where rowid >= ?');
    const [[begin] = []] = this.#reads.all(first, [lowestRow + from]);
    if (typeof begin !== 'bigint') return { records: [], next: null };
    const end = begin + rowsOfPage - 1n;
    const last = end < highestRow ? end : highestRow;
    const rows = this.#reads.all(statement, [begin, last, ...values, limit]);
    const read = rows.length < limit ? last : (rows.at(-1)?.at(-1) as bigint); // Its number is the last that is selected.
    const next = read < highestRow ? read + 1n - lowestRow : null;
    return { records: this.#recordsOf('backingKey', rows, members), next };
  }

  async verifyAll(isEnough: () => boolean = () => false): Promise<void> {
    for (const kind of numerousKinds) await this.#verifyKind(kind, isEnough);
    if (!isEnough()) this.#isVerified = true;
  }

  /** As `VerifiedRows.areKnown`, of what a transaction is about to replace. */
  areKnown(records: Pick<Replaced, 'rows'>): boolean {
    this.#keys.foresee(records);
    return this.#rows.areKnown(records);
  }

  /** A record in force that was verified elsewhere. */
  show<Kind extends RecordKind>(kind: Kind, record: MetadataRecords[Kind]): void {
    if (isNumerous(kind)) this.#rows.show(kind, record as MetadataRecords[typeof kind]);
  }

  /** What a transaction has put into the place of what, once it is on disk. */
  follow(records: Replaced): void {
    this.#keys.follow(records);
    this.#rows.follow(records);
  }

  /** By the number of the row, so that each page of the file is read once. */
  async #verifyKind(kind: NumerousKind, isEnough: () => boolean): Promise<void> {
    const statement = this.#reads.named(`all ${kind}`, () => {
      const behind = selection(this.#parts.db, kind).select(sql`rowid`.as('rowid')).where(sql<SqlBool>`rowid >= ${0}`);
      return behind.orderBy(sql`rowid`).limit(1).compile().sql;
    });
    let from: bigint | undefined = lowestRow;
    const lists = function* (this: RecordsOnDemand): Generator<readonly SeenRow[]> {
      while (from !== undefined) {
        const rows = this.#reads.all(statement, [from, macsPerCall]);
        const last = rows.at(-1)?.at(-1);
        if (typeof last !== 'bigint' || isEnough()) return;
        from = last < highestRow ? last + 1n : undefined;
        const unverified: SeenRow[] = [];
        for (const row of rows) this.#rows.isKnown(this.#rows.see(kind, row), unverified);
        yield unverified;
      }
    };
    await mapBounded(lists.call(this), callsAtOnce, async (rows) => {
      await this.#rows.verify(rows);
      this.#keys.forget(rows);
      // Others come first, however many records there are.
      await new Promise((resolve) => setImmediate(resolve));
    });
  }

  #recordsOf<Kind extends NumerousKind>(
    kind: Kind,
    rows: readonly Row[],
    members: Members<Kind>,
  ): readonly MetadataRecords[Kind][] {
    const unverified: SeenRow[] = [];
    const seen = rows.map((row) => this.#rows.see(kind, row));
    const records = this.#rows.recordsOf(kind, seen, members, unverified);
    if (unverified.length > 0) throw new UnverifiedRecords(this.#rows.verifySoon(unverified));
    return records;
  }
}

/** Of the file's pages in memory, beside the system's own: those of the indexes that lead to others. */
const cacheKibibytes = 32 * 1024;
/** So many rows are gone through without letting anybody else come first: some milliseconds. */
const rowsOfPage = 16_384n;
/** As `keys/regions-of-material.ts` reads it. */
const isOfRegion = sql`(regions = '' or instr(' ' || regions || ' ', ' ' || ${''} || ' ') > 0)`;
