/**
 * `record-source.ts` over SQLite: statements that are prepared once, and rows of which each is judged (`verified-rows.ts`).
 *
 * An index that somebody edited can keep a record from being found, and can lead to another one: that one's members are compared with
 * what was asked for, and it is none of those that were.
 */

import type { StatementSync } from 'node:sqlite';
import { type SqlBool, sql } from 'kysely';
import type { GrantId } from '../kms/grant-terms.ts';
import type { AliasName, KeyId } from '../kms/names.ts';
import { mapBounded } from './bounded-map.ts';
import { rowsOfKey, rowsOfKeyStatement } from './key-rows.ts';
import { KeysLookedUp, type SeenKey } from './keys-looked-up.ts';
import type { LoadedMetadata } from './metadata-store.ts';
import type { QuarantinedRecord } from './quarantined-record.ts';
import { fromColumns } from './record-columns.ts';
import { callsAtOnce, macsPerCall } from './record-macs.ts';
import type { ReaderParts } from './record-reader.ts';
import {
  type KeyFound,
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
import type { MetadataRecords } from './records/records.ts';
import { inputValue } from './sqlite-database.ts';
import { asStoreError } from './store-error.ts';
import type { Replaced } from './transactions.ts';
import type { Row, SeenRow, VerifiedRows } from './verified-rows.ts';

export class RecordsOnDemand implements RecordSource {
  readonly #parts: ReaderParts;
  readonly #rows: VerifiedRows;
  readonly #lookedUp = new KeysLookedUp();
  readonly #statements = new Map<string, StatementSync>();
  #isVerified = false;

  /** @param rows Judges those of `parts`. @param atStart What was verified already. */
  constructor(parts: ReaderParts, rows: VerifiedRows, atStart: LoadedMetadata) {
    this.#parts = parts;
    this.#rows = rows;
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
    const statement = this.#statement(`${kind} ${names.join(' ')}`, () => {
      const { db } = this.#parts;
      return names.reduce((query, name) => query.where(name, '=', ''), selection(db, kind)).compile().sql;
    });
    return this.#recordsOf(kind, this.#all(statement, values), members);
  }

  readKey(region: string, keyId: KeyId): KeyFound | undefined {
    const unverified: SeenRow[] = [];
    const ofKey = { region, keyId };
    const name = `${region} ${keyId}`;
    const seen = this.#lookedUp.of(name) ?? this.#seeKey(region, keyId);
    const [key] = this.#verifiedOf('key', seen.key, ofKey, unverified);
    const [policy] = this.#verifiedOf('keyPolicy', seen.keyPolicy, ofKey, unverified);
    const backingKeys = this.#verifiedOf('backingKey', seen.backingKey, { keyId }, unverified);
    if (unverified.length === 0) {
      this.#lookedUp.drop(name);
      return key === undefined ? undefined : { key, policy, backingKeys, hasGrants: seen.hasGrants };
    }
    this.#lookedUp.keep(name, seen);
    if (seen.hasGrants) this.#readGrantsAhead(region, keyId, unverified);
    throw new UnverifiedRecords(this.#rows.verifySoon(unverified));
  }

  #seeKey(region: string, keyId: KeyId): SeenKey {
    const statement = this.#statement('rows of a key', () => rowsOfKeyStatement);
    const { hasGrants, ...rows } = rowsOfKey(this.#all(statement, [region, keyId]));
    return {
      key: rows.key.map((row) => this.#rows.see('key', row)),
      keyPolicy: rows.keyPolicy.map((row) => this.#rows.see('keyPolicy', row)),
      backingKey: rows.backingKey.map((row) => this.#rows.see('backingKey', row)),
      hasGrants,
    };
  }

  /** Adds some of those that are not verified yet to `unverified`. */
  #readGrantsAhead(region: string, keyId: KeyId, unverified: SeenRow[]): void {
    const statement = this.#statement('grants ahead', () => {
      const all = selection(this.#parts.db, 'grant').where('region', '=', '').where('keyId', '=', '');
      return all.limit(0).compile().sql;
    });
    for (const row of this.#all(statement, [region, keyId, readAhead])) this.#seen('grant', row, unverified);
  }

  has<Kind extends NumerousKind>(kind: Kind, members: Members<Kind>): boolean {
    const names = Object.keys(members);
    const statement = this.#statement(`has ${kind} ${names.join(' ')}`, () => {
      const one = this.#parts.db.selectFrom(tables[kind] as never).select(sql`1`.as('one'));
      return names
        .reduce((query, name) => query.where(name as never, '=', '' as never), one)
        .limit(1)
        .compile().sql;
    });
    return this.#all(statement, [...Object.values<string | undefined>(members), 1]).length > 0;
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
    const statement = this.#statement('aliases', () => {
      const ofRegion = selection(this.#parts.db, 'alias').where('region', '=', '');
      return ofRegion.where('aliasName', '>=', '').where('aliasName', '<=', '').compile().sql;
    });
    const records = this.#recordsOf('alias', this.#all(statement, [region, first, last]), { region });
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
    const statement = this.#statement(`names ${kind}`, () => {
      const all = this.#parts.db.selectFrom(tables[kind]).select(id);
      const these = Object.keys(members).reduce((query, name) => query.where(name, '=', ''), all);
      return these.where(id, '>', '').orderBy(id).limit(1).compile().sql;
    });
    const rows = this.#all(statement, [...Object.values(members), after ?? '', limit + 1]);
    const names = rows.slice(0, limit).map(([name]) => String(name));
    const sound = names.filter((name) => this.problemOf(kind, name, members.region) === undefined);
    const truncated = rows.length > limit;
    // A page of nothing would be the last one for whoever reads on behind its last name.
    if (sound.length === 0 && truncated) return this.#names(kind, members, names.at(-1), limit);
    return { names: sound as Name[], truncated };
  }

  count(kind: Exclude<NumerousKind, 'backingKey'>, region: string): number {
    const statement = this.#statement(`count ${kind}`, () => `select count(*) from ${sqlNames[kind]} where region = ?`);
    const [row = []] = this.#all(statement, [region]);
    return Number(row[0]);
  }

  materialsIn(keyStore: string): readonly MetadataRecords['backingKey'][] {
    // As the index of them has it.
    const inToken = this.#statement('materials in', () => {
      const all = selection(this.#parts.db, 'backingKey').where('keyStore', '=', '');
      return all.where(sql<SqlBool>`(residency <> 'wrapped' or state <> 'Active')`).compile().sql;
    });
    const other = this.#statement('other material in', () => {
      const all = selection(this.#parts.db, 'backingKey').where('keyStore', '=', '');
      return all
        .where(sql<SqlBool>`wrapped_key <> '' and residency = 'wrapped' and state = 'Active'`)
        .limit(1)
        .compile().sql;
    });
    const rows = [...this.#all(inToken, [keyStore]), ...this.#all(other, [keyStore, 1])];
    return this.#recordsOf('backingKey', rows, { keyStore });
  }

  wrappedOtherwise({ keyStore, region, domainKeyId }: WrappedOtherwise, from: bigint, limit: number): MaterialPage {
    const statement = this.#statement('wrapped otherwise', () => {
      const some = this.#materialBehind().where('keyStore', '=', '');
      const those = some.where(
        sql<SqlBool>`state = 'Active' and wrapped_key <> '' and domain_key_id <> ${''} and ${isOfRegion}`,
      );
      return those.orderBy(sql`rowid`).limit(1).compile().sql;
    });
    return this.#pageOf(statement, from, [keyStore, domainKeyId, region], limit, { keyStore });
  }

  wrapped(from: bigint, limit: number): MaterialPage {
    const statement = this.#statement('wrapped', () => {
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
    statement: StatementSync,
    from: bigint,
    values: readonly string[],
    limit: number,
    members: Members<'backingKey'>,
  ): MaterialPage {
    const first = this.#statement('first row', () => 'select min(rowid) from backing_key where rowid >= ?');
    const [[begin] = []] = this.#all(first, [lowestRow + from]);
    if (typeof begin !== 'bigint') return { records: [], next: null };
    const end = begin + rowsOfPage - 1n;
    const last = end < highestRow ? end : highestRow;
    const rows = this.#all(statement, [begin, last, ...values, limit]);
    const read = rows.length < limit ? last : (rows.at(-1)?.at(-1) as bigint); // Its number is the last that is selected.
    const next = read < highestRow ? read + 1n - lowestRow : null;
    return { records: this.#recordsOf('backingKey', rows, members), next };
  }

  async verifyAll(isEnough: () => boolean = () => false): Promise<void> {
    for (const kind of numerousKinds) await this.#verifyKind(kind, isEnough);
    if (!isEnough()) this.#isVerified = true;
  }

  /** What a transaction has put into the place of what, once it is on disk. */
  follow(records: Replaced): void {
    this.#lookedUp.clear();
    this.#rows.follow(records);
  }

  /** By the number of the row, so that each page of the file is read once. */
  async #verifyKind(kind: NumerousKind, isEnough: () => boolean): Promise<void> {
    const statement = this.#statement(`all ${kind}`, () => {
      const behind = selection(this.#parts.db, kind).select(sql`rowid`.as('rowid')).where(sql<SqlBool>`rowid >= ${0}`);
      return behind.orderBy(sql`rowid`).limit(1).compile().sql;
    });
    let from: bigint | undefined = lowestRow;
    const lists = function* (this: RecordsOnDemand): Generator<readonly SeenRow[]> {
      while (from !== undefined) {
        const rows = this.#all(statement, [from, macsPerCall]);
        const last = rows.at(-1)?.at(-1);
        if (typeof last !== 'bigint' || isEnough()) return;
        from = last < highestRow ? last + 1n : undefined;
        const unverified: SeenRow[] = [];
        for (const row of rows) this.#seen(kind, row, unverified);
        yield unverified;
      }
    };
    await mapBounded(lists.call(this), callsAtOnce, async (rows) => {
      await this.#rows.verify(rows);
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
    const records = this.#verifiedOf(kind, seen, members, unverified);
    if (unverified.length > 0) throw new UnverifiedRecords(this.#rows.verifySoon(unverified));
    return records;
  }

  /** The records of those that are verified; those that are not yet are added to `unverified`. */
  #verifiedOf<Kind extends NumerousKind>(
    kind: Kind,
    rows: readonly SeenRow[],
    members: Members<Kind>,
    unverified: SeenRow[],
  ): readonly MetadataRecords[Kind][] {
    const records: MetadataRecords[Kind][] = [];
    for (const seen of rows) {
      if (!this.#judged(seen, unverified)) continue;
      const record = recordOf(kind, seen);
      if (record !== undefined && isMeant(record, members)) records.push(record);
    }
    return records;
  }

  #seen(kind: NumerousKind, row: Row, unverified: SeenRow[]): void {
    this.#judged(this.#rows.see(kind, row), unverified);
  }

  /** Is it verified? One that is not yet is added to `unverified`. */
  #judged(seen: SeenRow, unverified: SeenRow[]): boolean {
    const judged = this.#rows.judge(seen);
    if (judged === 'unverified') unverified.push(seen);
    return judged === 'known';
  }

  #statement(name: string, text: () => string): StatementSync {
    let statement = this.#statements.get(name);
    if (statement === undefined) {
      statement = this.#parts.database.prepare(text());
      statement.setReadBigInts(true);
      statement.setReturnArrays(true);
      this.#statements.set(name, statement);
    }
    return statement;
  }

  #all(statement: StatementSync, parameters: readonly unknown[]): readonly Row[] {
    try {
      return statement.all(...parameters.map(inputValue)) as unknown as Row[];
    } catch (error) {
      throw asStoreError(error, 'read the metadata store', this.#parts.path);
    }
  }
}

/** Of one that is known to be genuine. */
function recordOf<Kind extends NumerousKind>(kind: Kind, { row, record }: SeenRow): MetadataRecords[Kind] | undefined {
  // It was parsed as one of the kind that the row is of, which is this one.
  if (record !== undefined) return record as MetadataRecords[Kind];
  const parsed = fromColumns(kind, row);
  return 'badColumn' in parsed ? undefined : parsed.record;
}

/** Of the file's pages in memory, beside the system's own: those of the indexes that lead to others. */
const cacheKibibytes = 32 * 1024;
/** So many grants of a key are verified with it: as many as most have. Of one with thousands, whoever asks for them waits. */
const readAhead = 8;
/** So many rows are gone through without letting anybody else come first: some milliseconds. */
const rowsOfPage = 16_384n;
/** Numbers of rows begin with 1, but for those of somebody who edited the file: MACs do not have them. No row is passed over for its number. */
const [lowestRow, highestRow] = [-(2n ** 63n), 2n ** 63n - 1n];
/** As `keys/regions-of-material.ts` reads it. */
const isOfRegion = sql`(regions = '' or instr(' ' || regions || ' ', ' ' || ${''} || ' ') > 0)`;

/** An index that was edited leads to another record. */
function isMeant<Kind extends NumerousKind>(record: MetadataRecords[Kind], members: Members<Kind>): boolean {
  return Object.entries(members).every(([name, value]) => record[name as keyof typeof record] === value);
}
