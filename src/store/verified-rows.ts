/**
 * Which rows, as they stand in the file, are records: those that are in force (`macs-in-force.ts`), and whose form is known
 * (`known-forms.ts`) or verified by the HSM now.
 *
 * Rows of one payer that are found unverified in one turn of the event loop, whatever their kinds and by whichever requests, go to the
 * HSM in one call, and what is on its way there is waited for and not sent again. Each payer has calls of his own: nobody waits behind what
 * another one asks for, and nobody pays for it.
 */

import type { Payer } from '../kms/payer.ts';
import { payerNow } from '../kms/paying.ts';
import { formsToExpect, KnownForms } from './known-forms.ts';
import type { MacsInForce } from './macs-in-force.ts';
import type { LoadedMetadata } from './metadata-store.ts';
import type { QuarantinedRecord } from './quarantined-record.ts';
import { type Columns, fromColumns, memberNames, toColumns } from './record-columns.ts';
import { CanonicalForm, newestFormat, type RecordFormats } from './record-mac.ts';
import { macsPerCall } from './record-macs.ts';
import { notInForce, type RecordReader, type RowOfKind, type Verified } from './record-reader.ts';
import { isNumerous, type Members, type NumerousKind, numerousKinds } from './record-source.ts';
import { idMember } from './record-statements.ts';
import type { MetadataRecords, RecordKind } from './records/records.ts';
import type { Replaced } from './transactions.ts';

export type Row = readonly unknown[];

/** A row as it was read. */
export interface SeenRow extends RowOfKind {
  readonly kind: NumerousKind;
  /** The hash of its form; `undefined` for what has none, a column of another type. */
  readonly hashed: string | undefined;
  /** What it says, where it was verified since it was read and is of today's format: it was parsed for that. */
  record: MetadataRecords[RecordKind] | undefined;
}

interface KindFacts {
  readonly form: CanonicalForm;
  readonly macAt: number;
  readonly idAt: number;
  /** -1: it is of no Region. */
  readonly regionAt: number;
  readonly keyIdAt: number;
}

/** What one payer has on its way. */
interface Account {
  /** Found in this turn. */
  gathered: { readonly rows: SeenRow[]; readonly sent: Promise<void> } | undefined;
  /** By its hash, when the HSM will have said something of a row. */
  readonly awaited: Map<string, Promise<void>>;
}

export class VerifiedRows {
  readonly #reader: RecordReader;
  readonly #known: KnownForms;
  readonly #inForce: Pick<MacsInForce, 'has'>;
  readonly #facts: ReadonlyMap<RecordKind, KindFacts>;
  readonly #refused = new Map<string, QuarantinedRecord>();
  /** Of those, what was found here. */
  readonly #found: QuarantinedRecord[] = [];
  readonly #listeners: ((record: QuarantinedRecord) => void)[] = [];
  readonly #accounts = new Map<Payer | undefined, Account>();

  /**
   * @param expected So many records there are, and are most of them kept packed by whoever asks for them?
   * @param inForce The MACs of all of them, kept up to date by the store.
   */
  constructor(
    formats: RecordFormats,
    reader: RecordReader,
    expected: { readonly records: number; readonly arePacked: boolean },
    inForce: Pick<MacsInForce, 'has'>,
  ) {
    this.#reader = reader;
    this.#inForce = inForce;
    this.#known = new KnownForms(formsToExpect(expected.records, expected.arePacked));
    this.#facts = new Map(numerousKinds.map((kind) => [kind, factsOf(kind, formats)]));
  }

  whenRefused(listener: (record: QuarantinedRecord) => void): void {
    this.#listeners.push(listener);
    for (const record of this.#found) listener(record);
  }

  problemOf(kind: NumerousKind, id: string, region: string | null): string | undefined {
    if (this.#refused.size === 0) return undefined;
    return this.#refused.get(nameOf({ kind, id, region }))?.reason;
  }

  /** One that was verified elsewhere, and is in force. */
  show<Kind extends NumerousKind>(kind: Kind, record: MetadataRecords[Kind]): void {
    this.#put(kind, toColumns(kind, record));
  }

  /** What the start has verified already, and what did not verify, of which it told. */
  take(loaded: LoadedMetadata): void {
    for (const record of loaded.quarantined) this.#refused.set(nameOf(record), record);
    for (const kind of numerousKinds) for (const record of loaded[kind]) this.show(kind, record);
  }

  /**
   * Is all that a transaction is about to replace what was verified or written, to the letter? What somebody edited is not, and what was
   * there before would be known for good: put back under a MAC that is in force, it would be taken for a record.
   */
  areKnown({ rows }: Pick<Replaced, 'rows'>): boolean {
    let put: ReadonlySet<string | undefined> | undefined;
    // A record may be changed twice by one. Mostly none is, and nothing is hashed for that.
    const isPut = (hashed: string): boolean => {
      put ??= new Set(
        rows.put.map(({ kind, columns }) =>
          isNumerous(kind) ? this.#hashOf(kind, inOrder(kind, columns)) : undefined,
        ),
      );
      return put.has(hashed);
    };
    return rows.replaced.every(({ kind, row }) => {
      // Nothing of this name is used until the next start.
      if (!isNumerous(kind) || this.#refused.has(nameOf(this.#identityOf(kind, row)))) return true;
      const hashed = this.#hashOf(kind, row);
      return hashed !== undefined && (this.#known.has(hashed) || isPut(hashed));
    });
  }

  /** What a transaction has put into the place of what, once it is on disk. */
  follow({ rows }: Replaced): void {
    for (const { kind, row } of rows.replaced) {
      const hashed = isNumerous(kind) ? this.#hashOf(kind, row) : undefined;
      if (hashed !== undefined) this.#known.delete(hashed);
    }
    for (const { kind, columns } of rows.put) if (isNumerous(kind)) this.#put(kind, columns);
  }

  /** A row that was verified, and is kept by somebody else who says when it is not any more. */
  forget({ hashed }: SeenRow): void {
    if (hashed !== undefined) this.#known.delete(hashed);
  }

  /** Such a row, of today's format. */
  know({ kind, row }: { readonly kind: NumerousKind; readonly row: Row }): void {
    const hashed = this.#hashOf(kind, row);
    if (hashed !== undefined) this.#known.add(hashed);
  }

  see(kind: NumerousKind, row: Row): SeenRow {
    return { kind, row, hashed: this.#hashOf(kind, row), record: undefined };
  }

  /**
   * Is it a record? `undefined`: it is none, which was told of. The HSM is not asked about a row that is not in force: it would say that
   * we wrote it once.
   */
  judge({ kind, row, hashed }: SeenRow): 'known' | 'unverified' | undefined {
    if (this.#refused.size > 0 && this.#refused.has(nameOf(this.#identityOf(kind, row)))) return undefined;
    if (!this.#isInForce(kind, row)) {
      this.#refuseRow(kind, row, notInForce);
      return undefined;
    }
    return hashed !== undefined && this.#known.has(hashed) ? 'known' : 'unverified';
  }

  /** Is it verified? One that is not yet is added to `unverified`. */
  isKnown(seen: SeenRow, unverified: SeenRow[]): boolean {
    const judged = this.judge(seen);
    if (judged === 'unverified') unverified.push(seen);
    return judged === 'known';
  }

  /** The records with these members of those that are verified; those that are not yet are added to `unverified`. */
  recordsOf<Kind extends NumerousKind>(
    kind: Kind,
    rows: readonly SeenRow[],
    members: Members<Kind>,
    unverified: SeenRow[],
  ): readonly MetadataRecords[Kind][] {
    const records: MetadataRecords[Kind][] = [];
    for (const seen of rows) {
      if (!this.isKnown(seen, unverified)) continue;
      const record = recordOf(kind, seen);
      // An index that was edited leads to another record.
      if (record !== undefined && isMeant(record, members)) records.push(record);
    }
    return records;
  }

  /** Has the HSM verify these with whatever else this turn finds. Resolves when it makes sense to look again; rejects with what it fails with. */
  verifySoon(rows: readonly SeenRow[]): Promise<void> {
    const payer = payerNow();
    const account: Account = this.#accounts.get(payer) ?? { gathered: undefined, awaited: new Map() };
    this.#accounts.set(payer, account);
    const awaited = new Set<Promise<void>>();
    for (const row of rows) {
      const underWay = row.hashed === undefined ? undefined : account.awaited.get(row.hashed);
      const when = underWay ?? this.#gather(payer, account, row);
      if (row.hashed !== undefined) account.awaited.set(row.hashed, when);
      awaited.add(when);
    }
    const [only, ...others] = awaited;
    return others.length === 0 && only !== undefined ? only : Promise.all(awaited).then(() => undefined);
  }

  #gather(payer: Payer | undefined, account: Account, row: SeenRow): Promise<void> {
    if (account.gathered === undefined) {
      const rows: SeenRow[] = [];
      const sent = new Promise<void>((resolve, reject) => {
        // On the account of whoever is the first, which is the same payer's.
        setImmediate(() => {
          account.gathered = undefined;
          this.verify(rows)
            .finally(() => {
              for (const { hashed } of rows) if (hashed !== undefined) account.awaited.delete(hashed);
              if (account.awaited.size === 0 && account.gathered === undefined) this.#accounts.delete(payer);
            })
            .then(resolve, reject);
        });
      });
      sent.catch(() => undefined); // Whoever waits hears of it.
      account.gathered = { rows, sent };
    }
    account.gathered.rows.push(row);
    return account.gathered.sent;
  }

  /** Has the HSM verify them. Rejects with what it fails with. */
  async verify(rows: readonly SeenRow[]): Promise<void> {
    for (let first = 0; first < rows.length; first += macsPerCall) {
      const some = rows.slice(first, first + macsPerCall);
      const verified = await this.#reader.verifyRows(some);
      for (const [index, row] of some.entries()) this.#judged(row, verified[index]);
    }
  }

  #judged(seen: SeenRow, verified: Verified<RecordKind> | undefined): void {
    const { kind, row, hashed } = seen;
    // It was replaced while the HSM was at it.
    if (!this.#isInForce(kind, row)) return;
    if (verified === undefined || hashed === undefined) this.#refuseRow(kind, row, 'it is no record');
    else if ('reason' in verified) this.#refuseRow(kind, row, verified.reason);
    else {
      this.#known.add(hashed);
      if (verified.former === undefined) seen.record = verified.record;
    }
  }

  #put(kind: NumerousKind, columns: Columns): void {
    this.know({ kind, row: inOrder(kind, columns) });
  }

  #isInForce(kind: NumerousKind, row: Row): boolean {
    return this.#inForce.has(row[this.#factsOf(kind).macAt]);
  }

  #hashOf(kind: NumerousKind, row: Row): string | undefined {
    try {
      return this.#known.hashOf(this.#factsOf(kind).form.passing(row));
    } catch (error) {
      if (error instanceof TypeError) return undefined;
      throw error;
    }
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
    const { idAt, regionAt, keyIdAt } = this.#factsOf(kind);
    return {
      kind,
      id: String(row[idAt]),
      region: regionAt === -1 ? null : String(row[regionAt]),
      ...(kind === 'key' ? {} : { keyId: String(row[keyIdAt]) }),
    };
  }

  #factsOf(kind: NumerousKind): KindFacts {
    const facts = this.#facts.get(kind);
    if (facts === undefined) throw new TypeError(`${kind} is no kind of which there are many`);
    return facts;
  }
}

function inOrder(kind: NumerousKind, columns: Columns): Row {
  return memberNames(kind).map((name) => columns[name]);
}

/** Of one that is known to be genuine. */
function recordOf<Kind extends NumerousKind>(kind: Kind, { row, record }: SeenRow): MetadataRecords[Kind] | undefined {
  // It was parsed as one of the kind that the row is of, which is this one.
  if (record !== undefined) return record as MetadataRecords[Kind];
  const parsed = fromColumns(kind, row);
  return 'badColumn' in parsed ? undefined : parsed.record;
}

function isMeant<Kind extends NumerousKind>(record: MetadataRecords[Kind], members: Members<Kind>): boolean {
  for (const name in members) {
    const member = name as keyof typeof record & keyof typeof members; // One of its own.
    if (record[member] !== members[member]) return false;
  }
  return true;
}

function factsOf(kind: NumerousKind, formats: RecordFormats): KindFacts {
  const names = memberNames(kind);
  return {
    form: new CanonicalForm(kind, names, newestFormat(formats[kind])),
    macAt: names.length + 1, // After the members and the format.
    idAt: names.indexOf(idMember(kind)),
    regionAt: names.indexOf('region'),
    keyIdAt: names.indexOf('keyId'),
  };
}

function nameOf({ kind, id, region }: Omit<QuarantinedRecord, 'reason'>): string {
  return `${kind} ${region ?? ''} ${id}`;
}
