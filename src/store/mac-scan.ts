/**
 * One pass over all rows of all records, without reading the records: the sum over their MACs (`record-sum.ts`), how many there are, and
 * where the few stand that a start has to read. SQLite puts the MACs of some thousand rows together at a time. A
 * million keys, which are four million rows, take two to three seconds (measured); one by one they would take ten times as long.
 *
 * It goes through the tables themselves. An index that somebody edited, of which a row was taken out, hides nothing from it.
 */

import type { DatabaseSync } from 'node:sqlite';
import { MacsInForce } from './macs-in-force.ts';
import { recordKinds } from './record-columns.ts';
import { sqlNames } from './record-statements.ts';
import { type RecordSums, replacedInSum } from './record-sum.ts';
import type { RecordKind } from './records/records.ts';
import { asStoreError } from './store-error.ts';

/** Half a megabyte of digits. */
const rowsAtOnce = 8192;
const macDigits = 64;

/** Conditions in SQL over the columns of a kind. */
export type Wanted = Readonly<Partial<Record<RecordKind, string>>>;

/** Rows by their numbers, the first and the last one among them. */
export interface RowRange {
  readonly first: bigint;
  readonly last: bigint;
}

export interface ScannedMacs {
  readonly sum: bigint;
  /** Of rows. */
  readonly count: number;
  /** All of them. They are in force if the root says their sum. */
  readonly macs: MacsInForce;
  readonly wanted: PlacesOfRows;
  readonly former: PlacesOfRows;
}

/** Where the rows stand that meet the condition of their kind, among others. Empty where there is none. */
export type PlacesOfRows = ReadonlyMap<RecordKind, readonly RowRange[]>;

/**
 * @param path Of the file, for what is said of it.
 * @param options.wanted Which rows are looked for.
 * @param options.former And which others are, of former formats.
 * @param options.expected How many rows there are, roughly.
 * @throws StoreError
 */
export function scanMacs(
  database: DatabaseSync,
  sums: RecordSums,
  path: string,
  {
    wanted = {},
    former = {},
    expected = 0,
  }: { readonly wanted?: Wanted; readonly former?: Wanted; readonly expected?: number } = {},
): ScannedMacs {
  try {
    let [sum, count] = [0n, 0];
    const macs = new MacsInForce(expected);
    const [wantedPlaces, formerPlaces] = [new Map<RecordKind, RowRange[]>(), new Map<RecordKind, RowRange[]>()];
    for (const kind of recordKinds) {
      const [found, foundFormer]: [RowRange[], RowRange[]] = [[], []];
      for (const some of rowsOfKind(database, kind, wanted[kind] ?? 'false', former[kind] ?? 'false')) {
        sum = replacedInSum(sum, 0n, some.macs === undefined ? sums.sumOf(some.each()) : sums.sumOfMacs(some.macs));
        if (some.macs !== undefined) macs.addAll(some.macs);
        else for (const mac of some.each()) macs.add(mac);
        count += some.count;
        if (some.hasWanted) addRange(found, some.range);
        if (some.hasFormer) addRange(foundFormer, some.range);
      }
      wantedPlaces.set(kind, found);
      formerPlaces.set(kind, foundFormer);
    }
    return { sum, count, macs, wanted: wantedPlaces, former: formerPlaces };
  } catch (error) {
    throw asStoreError(error, 'read the metadata store', path);
  }
}

interface SomeRows {
  readonly count: number;
  readonly range: RowRange;
  /** One behind the other, where each is what a MAC of ours is: 64 digits. */
  readonly macs: Buffer | undefined;
  readonly hasWanted: boolean;
  readonly hasFormer: boolean;
  /** Whatever stands there as their MACs. */
  each(): readonly unknown[];
}

function* rowsOfKind(database: DatabaseSync, kind: RecordKind, wanted: string, former: string): Generator<SomeRows> {
  const table = sqlNames[kind];
  const rows = `from ${table} not indexed where rowid >= ?1 and rowid <= ?2`;
  const prepare = (text: string) => {
    const statement = database.prepare(text);
    statement.setReadBigInts(true);
    statement.setReturnArrays(true);
    return (...values: readonly bigint[]) => statement.all(...values) as unknown as unknown[][];
  };
  const next = prepare(`select min(rowid) from ${table} where rowid >= ?`);
  const isWhole = `octet_length(mac) = ${macDigits} and typeof(mac) = 'text'`;
  const together = prepare(
    `select last, count, wanted, former,
        case when whole = count and digits = lower(digits) then unhex(digits) end
      from (
        select max(rowid) as last, count(*) as count, max(rowid) filter (where ${wanted}) as wanted,
          max(rowid) filter (where ${former}) as former, count(*) filter (where ${isWhole}) as whole, group_concat(mac, '') as digits
        ${rows}
      )`,
  );
  const each = prepare(`select mac ${rows}`);
  // Numbers of rows begin with 1, but for those of somebody who edited the file.
  let at = -(2n ** 63n);
  for (;;) {
    const [[first] = []] = next(at);
    if (typeof first !== 'bigint') return;
    const end = BigInt.asIntN(64, first + BigInt(rowsAtOnce - 1));
    const to = end < first ? 2n ** 63n - 1n : end;
    const [[last, count, found, foundFormer, macs] = []] = together(first, to);
    const range = { first, last: last as bigint }; // There is the first one at least.
    yield {
      count: Number(count),
      range,
      macs: macs instanceof Uint8Array ? Buffer.from(macs.buffer, macs.byteOffset, macs.length) : undefined,
      hasWanted: found !== null,
      hasFormer: foundFormer !== null,
      each: () => each(first, to).map(([mac]) => mac),
    };
    if (range.last === 2n ** 63n - 1n) return;
    at = range.last + 1n;
  }
}

/** Two that follow each other are one. */
function addRange(ranges: RowRange[], { first, last }: RowRange): void {
  const before = ranges.at(-1);
  if (before !== undefined && before.last + 1n === first) ranges[ranges.length - 1] = { first: before.first, last };
  else ranges.push({ first, last });
}
