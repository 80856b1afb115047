/**
 * `record-source.ts` over SQLite: statements that are prepared once, the MACs of the records in force (`macs-in-force.ts`), and the forms that
 * are known (`known-forms.ts`).
 *
 * An index that somebody edited can keep a record from being found, and can lead to another one: that one's members are compared with
 * what was asked for, and it is none of those that were.
 */

import type { StatementSync } from 'node:sqlite';
import { type SqlBool, sql } from 'kysely';
import type { GrantId } from '../kms/grant-terms.ts';
import type { AliasName, KeyId } from '../kms/names.ts';
import { mapBounded } from './bounded-map.ts';
import { KnownForms } from './known-forms.ts';
import type { MacsInForce } from './macs-in-force.ts';
import type { QuarantinedRecord } from './quarantined-record.ts';
import { type Columns, fromColumns, memberNames, toColumns } from './record-columns.ts';
import { CanonicalForm, newestFormat } from './record-mac.ts';
import { callsAtOnce, macsPerCall } from './record-macs.ts';
import { notInForce, type ReaderParts, type RecordReader } from './record-reader.ts';
import {
  type MaterialPage,
  type Members,
  type NamesFound,
  type NumerousKind,
  numerousKinds,
  type RecordSource,
  type RecordVolume,
  UnverifiedRecords,
  type WrappedOtherwise,
} from './record-source.ts';
import { idMember, selection, tables } from './record-statements.ts';
import type { MetadataRecords, RecordKind } from './records/records.ts';
import { inputValue } from './sqlite-database.ts';
import { asStoreError } from './store-error.ts';
import type { Replaced } from './transactions.ts';

type Row = readonly unknown[];

export class RecordsOnDemand implements RecordSource {
  readonly #parts: ReaderParts;
  readonly #reader: RecordReader;
  readonly #known: KnownForms;
  readonly #inForce: Pick<MacsInForce, 'has'>;
  readonly #forms: ReadonlyMap<RecordKind, CanonicalForm>;
  readonly #statements = new Map<string, StatementSync>();
  readonly #refused = new Map<string, QuarantinedRecord>();
  /** Of those, what was found here. */
  readonly #found: QuarantinedRecord[] = [];
  readonly #listeners: ((record: QuarantinedRecord) => void)[] = [];
  #isVerified = false;

  /**
   * @param expected So many records there are.
   * @param inForce The MACs of all of them, kept up to date by the store.
   */
  constructor(parts: ReaderParts, reader: RecordReader, expected: number, inForce: Pick<MacsInForce, 'has'>) {
    this.#parts = parts;
    this.#reader = reader;
    this.#inForce = inForce;
    this.#known = new KnownForms(expected);
    this.#forms = new Map(
      numerousKinds.map((kind) => [
        kind,
        new CanonicalForm(kind, memberNames(kind), newestFormat(parts.formats[kind])),
      ]),
    );
  }

  get isVerified(): boolean {
    return this.#isVerified;
  }

  whenRefused(listener: (record: QuarantinedRecord) => void): void {
    this.#listeners.push(listener);
    for (const record of this.#found) listener(record);
  }

  select<Kind extends NumerousKind>(kind: Kind, members: Members<Kind>): readonly MetadataRecords[Kind][] {
    const [names, values] = [Object.keys(members), Object.values<string | undefined>(members)];
    const statement = this.#statement(`${kind} ${names.join(' ')}`, () => {
      const { db } = this.#parts;
      return names.reduce((query, name) => query.where(name, '=', ''), selection(db, kind)).compile().sql;
    });
    return this.#recordsOf(kind, this.#all(statement, values), members);
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
    return this.#refused.get(nameOf({ kind, id, region }))?.reason;
  }

  keyIds(region: string, after: string | undefined, limit: number): NamesFound<KeyId> {
    return this.#names<KeyId>('key', { region }, after, limit);
  }

  aliasNames(region: string, after: string | undefined, limit: number): NamesFound<AliasName> {
    return this.#names<AliasName>('alias', { region }, after, limit);
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

  volume(kind: NumerousKind, region: string): RecordVolume {
    const texts = memberNames(kind).filter((name) => weighedTexts.has(name));
    const { db } = this.#parts;
    const bytes = sql.join([sql`0`, ...texts.map((name) => sql`octet_length(${sql.ref(name)})`)], sql` + `);
    const all = db
      .selectFrom(tables[kind] as never)
      .select([sql`count(*)`.as('count'), sql`total(${bytes})`.as('bytes')]);
    // By the table, in its order: by the index of the Region, each row would be looked up by itself (ten times as long).
    const query = 'region' in primaryMember(kind) ? all.where(sql<SqlBool>`+region = ${region}`) : all;
    const { sql: text, parameters } = query.compile();
    const [row = []] = this.#all(
      this.#statement(text, () => text),
      parameters,
    );
    return { count: Number(row[0]), textBytes: Number(row[1]) };
  }

  materialsIn(keyStore: string): readonly MetadataRecords['backingKey'][] {
    const statement = this.#statement('materials in', () => {
      const { db } = this.#parts;
      const all = selection(db, 'backingKey').where('keyStore', '=', '');
      const one = sql`rowid = (select min(rowid) from backing_key where key_store = ${''})`;
      return all.where(sql<SqlBool>`(residency <> 'wrapped' or state <> 'Active' or ${one})`).compile().sql;
    });
    return this.#recordsOf('backingKey', this.#all(statement, [keyStore, keyStore]), { keyStore });
  }

  wrappedOtherwise({ keyStore, region, domainKeyId }: WrappedOtherwise, from: number, limit: number): MaterialPage {
    const first = this.#statement('first row', () => 'select min(rowid) from backing_key where rowid > ?');
    const [[begin] = []] = this.#all(first, [from]);
    if (typeof begin !== 'bigint') return { records: [], next: null };
    const last = Number(begin) + rowsOfPage - 1;
    const statement = this.#statement('wrapped otherwise', () => {
      const behind = selection(this.#parts.db, 'backingKey').select(sql`rowid`.as('rowid'));
      const some = behind.where(sql<SqlBool>`rowid > ${0} and rowid <= ${0}`).where('keyStore', '=', '');
      const those = some.where(
        sql<SqlBool>`state = 'Active' and wrapped_key <> '' and domain_key_id <> ${''} and ${isOfRegion}`,
      );
      return those.orderBy(sql`rowid`).limit(1).compile().sql;
    });
    const rows = this.#all(statement, [from, last, keyStore, domainKeyId, region, limit]);
    const next = rows.length < limit ? last : Number(rows.at(-1)?.at(-1));
    // A number of a row that is too large to count on is none of ours.
    return { records: this.#recordsOf('backingKey', rows, { keyStore }), next: next > from ? next : null };
  }

  wrappedUnder(): ReadonlyMap<string, number> {
    const statement = this.#statement(
      'wrapped under',
      () =>
        "select key_store, domain_key_id, count(*) from backing_key where wrapped_key <> '' group by key_store, domain_key_id",
    );
    return new Map(this.#all(statement, []).map(([keyStore, id, count]) => [`${keyStore} ${id}`, Number(count)]));
  }

  async verifyAll(isEnough: () => boolean = () => false): Promise<void> {
    for (const kind of numerousKinds) await this.#verifyKind(kind, isEnough);
    if (!isEnough()) this.#isVerified = true;
  }

  /** What did not verify at the start, which told of it. */
  refuse(records: readonly QuarantinedRecord[]): void {
    for (const record of records) this.#refused.set(nameOf(record), record);
  }

  /** What was verified already. */
  know<Kind extends NumerousKind>(kind: Kind, records: readonly MetadataRecords[Kind][]): void {
    for (const record of records) this.#put(kind, toColumns(kind, record));
  }

  /** What a transaction has put into the place of what, once it is on disk. */
  follow({ rows }: Replaced): void {
    for (const { kind, row } of rows.replaced) {
      const form = isNumerous(kind) ? this.#formOf(kind, row) : undefined;
      if (form !== undefined) this.#known.delete(this.#known.hashOf(form));
    }
    for (const { kind, columns } of rows.put) if (isNumerous(kind)) this.#put(kind, columns);
  }

  #put(kind: NumerousKind, columns: Columns): void {
    const values = memberNames(kind).map((name) => columns[name]);
    const form = this.#formOf(kind, values);
    if (form !== undefined) this.#known.add(this.#known.hashOf(form));
  }

  /** By the number of the row, so that each page of the file is read once. */
  async #verifyKind(kind: NumerousKind, isEnough: () => boolean): Promise<void> {
    const statement = this.#statement(`all ${kind}`, () => {
      const behind = selection(this.#parts.db, kind).select(sql`rowid`.as('rowid')).where(sql<SqlBool>`rowid > ${0}`);
      return behind.orderBy(sql`rowid`).limit(1).compile().sql;
    });
    let last = 0n;
    const lists = function* (this: RecordsOnDemand): Generator<readonly Row[]> {
      for (;;) {
        const rows = this.#all(statement, [Number(last), macsPerCall]);
        const end = rows.at(-1)?.at(-1);
        if (typeof end !== 'bigint' || isEnough()) return;
        last = end;
        const unverified = rows.filter((row) => this.#stateOf(kind, row) === 'unverified');
        if (unverified.length > 0) yield unverified;
        else yield [];
      }
    };
    await mapBounded(lists.call(this), callsAtOnce, async (rows) => {
      if (rows.length > 0) await this.#verify(kind, rows);
      // Others come first, however many records there are.
      await new Promise((resolve) => setImmediate(resolve));
    });
  }

  #recordsOf<Kind extends NumerousKind>(
    kind: Kind,
    rows: readonly Row[],
    members: Members<Kind>,
  ): readonly MetadataRecords[Kind][] {
    const unverified: Row[] = [];
    const records: MetadataRecords[Kind][] = [];
    for (const row of rows) {
      const state = this.#stateOf(kind, row);
      if (state === 'unverified') unverified.push(row);
      if (state !== 'known') continue;
      const parsed = fromColumns(kind, row);
      if ('badColumn' in parsed) continue;
      const { record } = parsed;
      const isMeant = Object.entries(members).every(([name, value]) => (record as never)[name] === value);
      if (isMeant) records.push(record);
    }
    if (unverified.length > 0) throw new UnverifiedRecords(this.#verify(kind, unverified));
    return records;
  }

  /** The HSM is not asked about a row that is not in force: it would say that we wrote it once. */
  #stateOf(kind: NumerousKind, row: Row): 'known' | 'refused' | 'unverified' {
    if (this.#refused.size > 0 && this.#refused.has(nameOf(this.#identityOf(kind, row)))) return 'refused';
    if (!this.#isInForce(kind, row)) {
      this.#refuseRow(kind, row, notInForce);
      return 'refused';
    }
    const form = this.#formOf(kind, row);
    return form !== undefined && this.#known.has(this.#known.hashOf(form)) ? 'known' : 'unverified';
  }

  #isInForce(kind: NumerousKind, row: Row): boolean {
    return this.#inForce.has(row[memberNames(kind).length + 1]); // After the members and the format.
  }

  /** @returns `undefined` for what has none: a column of another type. */
  #formOf(kind: NumerousKind, row: Row): Buffer | undefined {
    try {
      return this.#forms.get(kind)?.of(row);
    } catch (error) {
      if (error instanceof TypeError) return undefined;
      throw error;
    }
  }

  async #verify(kind: NumerousKind, rows: readonly Row[]): Promise<void> {
    for (let first = 0; first < rows.length; first += macsPerCall) {
      const some = rows.slice(first, first + macsPerCall);
      const verified = await this.#reader.verify(kind, some);
      for (const [index, row] of some.entries()) this.#judged(kind, row, verified[index]);
    }
  }

  #judged(kind: NumerousKind, row: Row, verified: { readonly reason: string } | object | undefined): void {
    // It was replaced while the HSM was at it.
    if (!this.#isInForce(kind, row)) return;
    const form = this.#formOf(kind, row);
    if (verified !== undefined && !('reason' in verified) && form !== undefined)
      this.#known.add(this.#known.hashOf(form));
    else
      this.#refuseRow(
        kind,
        row,
        verified !== undefined && 'reason' in verified ? String(verified.reason) : 'it is no record',
      );
  }

  #refuseRow(kind: NumerousKind, row: Row, reason: string): void {
    const identity = this.#identityOf(kind, row);
    const name = nameOf(identity);
    if (this.#refused.has(name)) return;
    const record = { ...identity, reason };
    this.#refused.set(name, record);
    this.#found.push(record);
    for (const listener of this.#listeners) listener(record);
  }

  #identityOf(kind: NumerousKind, row: Row): Omit<QuarantinedRecord, 'reason'> {
    const names = memberNames(kind);
    const regionAt = names.indexOf('region');
    return {
      kind,
      id: String(row[names.indexOf(idMember(kind))]),
      region: regionAt === -1 ? null : String(row[regionAt]),
      ...(kind === 'key' ? {} : { keyId: String(row[names.indexOf('keyId')]) }),
    };
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

/** So many rows are gone through without letting anybody else come first: some milliseconds. */
const rowsOfPage = 16_384;
/** As `keys/regions-of-material.ts` reads it. */
const isOfRegion = sql`(regions = '' or instr(' ' || regions || ' ', ' ' || ${''} || ' ') > 0)`;

/** Texts that a record may have any number of bytes in. */
const weighedTexts: ReadonlySet<string> = new Set([
  ...['description', 'tags', 'document', 'publicKey', 'wrappedKey', 'materialDescription', 'aliasName'],
  ...['name', 'grantee', 'retiring', 'operations', 'constraints'],
]);

function primaryMember(kind: NumerousKind): object {
  return kind === 'backingKey' ? {} : { region: true };
}

function isNumerous(kind: RecordKind): kind is NumerousKind {
  return (numerousKinds as readonly string[]).includes(kind);
}

function nameOf({ kind, id, region }: Omit<QuarantinedRecord, 'reason'>): string {
  return `${kind} ${region ?? ''} ${id}`;
}
