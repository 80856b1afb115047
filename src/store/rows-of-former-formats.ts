/**
 * Rows of former formats, where there are too many records to read all of them at a start: found in the places that `mac-scan.ts` tells,
 * verified, and written anew in today's format some at a time, before anything else is asked of them.
 */

import { sql } from 'kysely';
import { inLists } from './bounded-map.ts';
import type { PlacesOfRows, Wanted } from './mac-scan.ts';
import type { Progress } from './metadata-store.ts';
import { newestFormat, type RecordFormats } from './record-mac.ts';
import type { Findings, ReaderParts, RecordReader } from './record-reader.ts';
import { numerousKinds } from './record-source.ts';
import { type FormerRow, sqlNames } from './record-statements.ts';

/** Conditions of the rows of former formats. */
export function ofFormerFormat(formats: RecordFormats): Wanted {
  return Object.fromEntries(numerousKinds.map((kind) => [kind, `format <> ${newestFormat(formats[kind])}`]));
}

/** Written anew in one transaction, and, where not all rows are read at a start, read at a time. */
const formerRowsAtOnce = 1_000;

/** Has those that were read written anew, in several transactions, each of which is told of. */
export async function writeAnew(
  former: readonly FormerRow[],
  write: (some: readonly FormerRow[]) => Promise<void>,
  progress: Progress,
): Promise<void> {
  let written = 0;
  for (const some of inLists(former, formerRowsAtOnce)) {
    await write(some);
    written += some.length;
    progress(written, former.length);
  }
}

/** The same of those that are in these places, of which no more are in memory at a time. */
export async function writeAnewIn(
  places: PlacesOfRows,
  reader: RecordReader,
  parts: ReaderParts,
  write: (some: readonly FormerRow[]) => Promise<void>,
  progress: Progress,
): Promise<void> {
  const total = countFormerRows(parts, places);
  let written = 0;
  for await (const some of formerRows(reader, parts, places)) {
    await write(some);
    written += some.length;
    progress(written, total);
  }
}

/**
 * The rows of former formats, verified, some at a time, in the places that `scanMacs` found. Those that do not verify are passed over:
 * they stay as they are, and whoever asks for them is told.
 */
async function* formerRows(
  reader: RecordReader,
  { database, formats }: ReaderParts,
  places: PlacesOfRows,
): AsyncGenerator<readonly FormerRow[]> {
  const conditions = ofFormerFormat(formats);
  for (const kind of numerousKinds) {
    const numbers = database.prepare(
      `select rowid from ${sqlNames[kind]} not indexed where rowid >= ? and rowid <= ? and (${conditions[kind]}) limit ${formerRowsAtOnce}`,
    );
    numbers.setReadBigInts(true);
    for (const { first, last } of places.get(kind) ?? [])
      for (let at = first; at <= last; ) {
        const found = numbers.all(at, last).map((row) => row['rowid'] as bigint);
        const [end] = found.slice(-1);
        if (end === undefined) break;
        const findings: Findings = { quarantined: [], former: [], macs: () => undefined };
        await reader.all()(kind, findings, sql.raw(`rowid in (${found.join(', ')})`));
        yield findings.former;
        at = end + 1n;
      }
  }
}

/** How many there are. */
function countFormerRows({ database, formats }: ReaderParts, places: PlacesOfRows): number {
  const conditions = ofFormerFormat(formats);
  const counts = numerousKinds.flatMap((kind) => {
    const count = database.prepare(
      `select count(*) as count from ${sqlNames[kind]} not indexed where rowid >= ? and rowid <= ? and (${conditions[kind]})`,
    );
    return (places.get(kind) ?? []).map(({ first, last }) => Number(count.get(first, last)?.['count']));
  });
  return counts.reduce((sum, each) => sum + each, 0);
}
