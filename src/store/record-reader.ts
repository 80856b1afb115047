/**
 * Rows, read and verified. INVARIANT: what comes out of here as a record has a MAC that verified; a row that has not comes out as
 * the reason, or among the quarantined.
 *
 * All rows of a kind are read in lists of as many as the HSM is given in one call, and while it is at the MACs of one list, the
 * next ones are read and put into their canonical form.
 */

import type { DatabaseSync } from 'node:sqlite';
import type { Expression, Kysely, SqlBool } from 'kysely';
import { inLists, mapBounded } from './bounded-map.ts';
import type { MacsInForce } from './macs-in-force.ts';
import type { RecordMacs } from './metadata-store.ts';
import type { QuarantinedRecord } from './quarantined-record.ts';
import { type Columns, fromColumns, memberNames } from './record-columns.ts';
import {
  CanonicalForm,
  canonicalRecord,
  columnsOfFormat,
  FormsOfCall,
  isKnownFormat,
  isMacEqual,
  newestFormat,
  type RecordFormats,
} from './record-mac.ts';
import { callsAtOnce, macsOfCall, macsPerCall } from './record-macs.ts';
import {
  allRows,
  type FormerRow,
  idMember,
  oneRow,
  type PreparedChange,
  prepareChange,
  type Tables,
  tables,
} from './record-statements.ts';
import { added, type Change } from './records/changes.ts';
import type { MetadataRecords, RecordKind } from './records/records.ts';
import { SharedTexts } from './shared-texts.ts';
import { rowsOf } from './sqlite-database.ts';
import { asStoreError, StoreError } from './store-error.ts';

export interface ReaderParts {
  readonly path: string;
  readonly macs: RecordMacs;
  readonly database: DatabaseSync;
  readonly db: Kysely<Tables>;
  /** The Region of what was written before records had one. */
  readonly formerRegion: string;
  readonly formats: RecordFormats;
}

/** A row as it stands in the file, of whatever types somebody may have put there: its columns, `format` and `mac`. */
type Row = readonly unknown[];

export interface RowOfKind {
  readonly kind: RecordKind;
  readonly row: Row;
}

export type Verified<Kind extends RecordKind> =
  | {
      readonly record: MetadataRecords[Kind];
      /** As they stand in the row, where it was written in another format than the newest. */
      readonly former: Columns | undefined;
    }
  | { readonly reason: string };

/** Why a row is refused whose MAC is none of those in force. */
export const notInForce = 'it is not in force: it was put back or edited past Drawbridge';

/** A row before its MAC was compared. */
type Unverified<Kind extends RecordKind> =
  | { readonly storedMac: unknown; readonly becomes: Verified<Kind> }
  | { readonly reason: string };

/** What is found beside the records. */
export interface Findings {
  readonly quarantined: QuarantinedRecord[];
  /** What has to be written anew. */
  readonly former: FormerRow[];
  /** Told of the MACs of all rows, as they stand there: of a list of rows at once. */
  readonly macs: (stored: readonly unknown[]) => void;
}

export class RecordReader {
  readonly #parts: ReaderParts;
  /** Those of today's formats. */
  readonly #newest = new Map<RecordKind, CanonicalForm>();

  constructor(parts: ReaderParts) {
    this.#parts = parts;
  }

  /** All kinds that are read by the same one share their texts. What is read is all of a kind, or what meets a condition. */
  all(): <Kind extends RecordKind>(
    kind: Kind,
    findings: Findings,
    which?: Expression<SqlBool>,
  ) => Promise<readonly MetadataRecords[Kind][]> {
    const texts = new SharedTexts();
    return async (kind, findings, which) => {
      const lists = inLists(this.#rowsOf(kind, texts, which), macsPerCall);
      const records = await mapBounded(lists, callsAtOnce, (rows) => this.#recordsOf(kind, rows, findings));
      return records.flat();
    };
  }

  /**
   * What is on disk of the record that the change is of; `undefined` when there is none.
   * @param inForce Those that are, where that is known.
   */
  async one<Kind extends RecordKind>(
    kind: Kind,
    change: PreparedChange,
    inForce?: Pick<MacsInForce, 'has'>,
  ): Promise<Verified<Kind> | undefined> {
    const { db, database, path } = this.#parts;
    let rows: Row[];
    try {
      rows = [...rowsOf(database, oneRow(db, change))];
    } catch (error) {
      throw asStoreError(error, 'read the metadata store', path);
    }
    const macAt = memberNames(kind).length + 1; // After the members and the format.
    if (rows.some((row) => inForce?.has(row[macAt]) === false)) return { reason: notInForce };
    const [verified] = await this.verify(kind, rows);
    return verified;
  }

  /** That as a change of memory. @throws StoreError `damaged` */
  async reread(prepared: PreparedChange, inForce?: Pick<MacsInForce, 'has'>): Promise<Change> {
    const { kind, change } = prepared;
    const verified = await this.one(kind, prepared, inForce);
    // Another one's removal, told of the record as it was seen here. Kind and record are those of the one change.
    if (verified === undefined) return { remove: kind, record: change.record } as Change;
    if ('record' in verified) return added(kind, verified.record);
    throw new StoreError('damaged', `a record in \`${this.#parts.path}\` is refused: ${verified.reason}`);
  }

  *#rowsOf(kind: RecordKind, texts: SharedTexts, which: Expression<SqlBool> | undefined): Generator<Row> {
    const { db, database, path } = this.#parts;
    const share = texts.sharing(kind);
    try {
      for (const row of rowsOf(database, allRows(db, kind, which))) {
        share(row);
        yield row;
      }
    } catch (error) {
      throw asStoreError(error, 'read the metadata store', path);
    }
  }

  /** The records of those that are not quarantined. */
  async #recordsOf<Kind extends RecordKind>(
    kind: Kind,
    rows: readonly Row[],
    { quarantined, former, macs }: Findings,
  ): Promise<readonly MetadataRecords[Kind][]> {
    const { formerRegion } = this.#parts;
    const regionAt = memberNames(kind).indexOf('region');
    const idAt = memberNames(kind).indexOf(idMember(kind));
    const macAt = memberNames(kind).length + 1; // After the members and the format.
    macs(rows.map((row) => row[macAt]));
    const verified = await this.verify(kind, rows);
    const records: MetadataRecords[Kind][] = [];
    for (const [index, row] of rows.entries()) {
      // It was put back beside the one that it became.
      const isSuperseded = row[regionAt] === '' && this.#hasToday(kind, row[idAt]);
      const found = isSuperseded ? { reason: 'a later version of it is on record' } : verified[index];
      if (found === undefined) throw new TypeError('a row was not judged');
      if ('record' in found) {
        if (found.former !== undefined) {
          former.push({ columns: found.former, anew: prepareChange(added(kind, found.record)) });
        }
        records.push(found.record);
        continue;
      }
      const region = regionAt === -1 ? null : String(row[regionAt]);
      quarantined.push({
        kind,
        id: String(row[idAt]),
        // It is missed in the Region of all that was written in its time, unless its successor is there.
        region: region === '' && !isSuperseded ? formerRegion : region,
        reason: found.reason,
      });
    }
    return records;
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

  /** In the order of the rows. Throws what the HSM fails with. */
  async verify<Kind extends RecordKind>(kind: Kind, rows: readonly Row[]): Promise<readonly Verified<Kind>[]> {
    const verified = await this.verifyRows(rows.map((row) => ({ kind, row })));
    return verified as readonly Verified<Kind>[]; // They are in the order of the rows, which are all of this kind.
  }

  /** The same of several kinds, in one call to the HSM. There are no more rows than that takes. */
  async verifyRows(rows: readonly RowOfKind[]): Promise<readonly Verified<RecordKind>[]> {
    const forms = new FormsOfCall();
    const read = rows.map(({ kind, row }) => this.#read(kind, row, forms));
    const macs = await macsOfCall(this.#parts.macs, forms.end());
    let at = 0;
    return read.map((each) => {
      if ('reason' in each) return each;
      const mac = macs[at++];
      if (mac !== undefined && isMacEqual(mac, each.storedMac)) return each.becomes;
      return { reason: 'its MAC does not verify: it was edited or damaged' };
    });
  }

  #newestOf(kind: RecordKind): CanonicalForm {
    let form = this.#newest.get(kind);
    if (form === undefined) {
      form = new CanonicalForm(kind, memberNames(kind), newestFormat(this.#parts.formats[kind]));
      this.#newest.set(kind, form);
    }
    return form;
  }

  /** Adds its form to `forms`, where it may be a record. */
  #read<Kind extends RecordKind>(kind: Kind, row: Row, forms: FormsOfCall): Unverified<Kind> {
    const formats = this.#parts.formats[kind];
    const names = memberNames(kind);
    const [storedFormat, storedMac] = [row[names.length], row[names.length + 1]];
    const format = typeof storedFormat === 'bigint' ? Number(storedFormat) : Number.NaN;
    if (!isKnownFormat(formats, format)) return { reason: 'its format is not known to this version' };
    const parsed = fromColumns(kind, row);
    if ('badColumn' in parsed) return { reason: `its member ${parsed.badColumn} has a value that nothing here writes` };
    const { record } = parsed;
    if (format === newestFormat(formats)) {
      forms.add(this.#newestOf(kind).passing(row));
      return { storedMac, becomes: { record, former: undefined } };
    }
    const columns = asColumns(names, row);
    const covered = columnsOfFormat(formats, columns, format);
    if (covered === undefined) return { reason: 'its MAC does not verify: it was edited or damaged' };
    const lacksRegion = 'region' in columns && !('region' in covered);
    forms.add(canonicalRecord(kind, covered, format));
    return {
      storedMac,
      becomes: {
        record: lacksRegion ? { ...record, region: this.#parts.formerRegion } : record,
        former: columns,
      },
    };
  }
}

/** @param row Of columns that `fromColumns` has taken: texts and whole numbers. */
function asColumns(names: readonly string[], row: Row): Columns {
  return Object.fromEntries(
    names.map((name, index) => [name, typeof row[index] === 'string' ? row[index] : Number(row[index])]),
  );
}
