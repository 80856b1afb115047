/**
 * The sum over the MACs of all records (`record-sum.ts`), without reading the records: SQLite puts the MACs of some thousand rows into
 * one text at a time. A million rows take a second or two (measured); one by one they would take ten.
 */

import type { DatabaseSync } from 'node:sqlite';
import { MacsInForce } from './macs-in-force.ts';
import { recordKinds } from './record-columns.ts';
import { tables } from './record-statements.ts';
import { type RecordSums, replacedInSum } from './record-sum.ts';
import type { RecordKind } from './records/records.ts';
import { asStoreError } from './store-error.ts';

/** Half a megabyte of digits. */
const rowsAtOnce = 8192;
const macDigits = 64;

export interface ScannedMacs {
  readonly sum: bigint;
  /** Rows of each kind. */
  readonly counts: ReadonlyMap<RecordKind, number>;
  /** All of them. They are in force if the root says their sum. */
  readonly macs: MacsInForce;
}

/**
 * @param path Of the file, for what is said of it.
 * @param expected How many rows there are, roughly.
 * @throws StoreError
 */
export function scanMacs(database: DatabaseSync, sums: RecordSums, path: string, expected = 0): ScannedMacs {
  try {
    let sum = 0n;
    const all = new MacsInForce(expected);
    const counts = new Map<RecordKind, number>();
    for (const kind of recordKinds) {
      let count = 0;
      for (const macs of macsOf(database, tableNames[kind])) {
        count += macs.rows;
        const each = macs.isWhole ? undefined : macs.each();
        sum = replacedInSum(sum, 0n, each === undefined ? sums.sumOfDigits(macs.digits) : sums.sumOf(each));
        if (each === undefined) all.addDigits(macs.digits);
        else for (const mac of each) all.add(mac);
      }
      counts.set(kind, count);
    }
    return { sum, counts, macs: all };
  } catch (error) {
    throw asStoreError(error, 'read the metadata store', path);
  }
}

interface SomeMacs {
  readonly rows: number;
  /** Is each of them 64 digits, so that `digits` is all of them? */
  readonly isWhole: boolean;
  readonly digits: string;
  each(): readonly unknown[];
}

function* macsOf(database: DatabaseSync, table: string): Generator<SomeMacs> {
  const some = `select rowid as number, mac from ${table} where rowid > ? order by rowid limit ${rowsAtOnce}`;
  const isWhole = `typeof(mac) = 'text' and length(mac) = ${macDigits}`;
  const joined = database.prepare(
    `select max(number), count(*), count(*) filter (where ${isWhole}), group_concat(mac, '') from (${some})`,
  );
  joined.setReadBigInts(true);
  joined.setReturnArrays(true);
  const oneByOne = database.prepare(some);
  oneByOne.setReadBigInts(true);
  oneByOne.setReturnArrays(true);
  // Numbers of rows begin with 1, but for those of somebody who edited the file.
  let last = -(2n ** 63n);
  for (;;) {
    const [end, rows, whole, digits] = joined.get(last) as unknown as unknown[];
    if (typeof end !== 'bigint') return;
    const from = last;
    yield {
      rows: Number(rows),
      isWhole: rows === whole && typeof digits === 'string' && isHex(digits),
      digits: String(digits),
      each: () => (oneByOne.all(from) as unknown as unknown[][]).map(([, mac]) => mac),
    };
    last = end;
  }
}

/** In lower case. A regular expression takes five times as long. */
function isHex(digits: string): boolean {
  return Buffer.from(digits, 'hex').toString('hex') === digits;
}

/** As `CamelCasePlugin` names them in the file. */
const tableNames = Object.fromEntries(
  recordKinds.map((kind) => [kind, tables[kind].replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)]),
) as Readonly<Record<RecordKind, string>>; // One for each kind.
