/**
 * What a start reads: all records, or, where there are too many to have in memory, what it takes to begin with.
 *
 * That the records are those which were written last is found either way, by the sum over the MACs of all rows (`mac-scan.ts`). What a
 * row says is verified when it is read: by `loadAll` all of them, by `loadAtStart` those that a start has to know at once, and
 * the others when somebody asks for them (`record-source.ts`). So a record that was edited, and its MAC was not, is named later
 * by the second, and used as little.
 */

import type { DatabaseSync } from 'node:sqlite';
import { type Expression, type SqlBool, sql } from 'kysely';
import type { PlacesOfRows, RowRange } from './mac-scan.ts';
import type { LoadedMetadata } from './metadata-store.ts';
import { recordKinds } from './record-columns.ts';
import type { Findings, ReaderParts, RecordReader } from './record-reader.ts';
import { isNumerous, type NumerousKind } from './record-source.ts';
import { type FormerRow, sqlNames } from './record-statements.ts';
import type { MetadataRecords, RecordKind } from './records/records.ts';

export interface RecordsRead {
  readonly loaded: LoadedMetadata;
  /** Rows of former formats, which are to be written anew. */
  readonly former: readonly FormerRow[];
}

/** @param macs Told of the MACs of all rows. */
export function loadAll(reader: RecordReader, macs: Findings['macs']): Promise<RecordsRead> {
  return load(reader, macs, () => undefined);
}

/** Without a Region: they get theirs before anything else is read (`former-region.ts`). */
const lacksRegion = "region = ''";

/**
 * Conditions of the rows that a start has to know: what did not finish, what something is due of, and what lives in a token. Rows of
 * kinds that are not here are all read.
 */
export const wantedAtStart: Readonly<Record<NumerousKind, string>> = {
  key: `state not in ('Enabled', 'Disabled') or origin <> 'AWS_KMS' or ${lacksRegion}`,
  backingKey: "residency <> 'wrapped' or state <> 'Active'",
  keyPolicy: lacksRegion,
  alias: lacksRegion,
  grant: lacksRegion,
  lastUse: lacksRegion,
};

/**
 * As few as it can.
 * @param places Where the rows are that a start wants (`scanMacs`): no other place is gone through.
 */
export function loadAtStart(
  reader: RecordReader,
  { database }: ReaderParts,
  places: PlacesOfRows,
): Promise<RecordsRead> {
  const found = (kind: NumerousKind, condition = wantedAtStart[kind]): string =>
    inRanges(kind, places.get(kind) ?? [], condition);
  const isUnfinished = "state = 'Creating'";
  const keys = keysToRead(database, found('key', isUnfinished), found('backingKey', isUnfinished));
  return load(
    reader,
    () => undefined,
    (kind) => {
      if (!isNumerous(kind)) return undefined;
      const rows = [found(kind), ofKeys(kind, keys), ...oneOfEach(kind)].join(' union all ');
      return sql.raw(`rowid in (${rows})`);
    },
  );
}

async function load(
  reader: RecordReader,
  macs: Findings['macs'],
  which: (kind: RecordKind) => Expression<SqlBool> | undefined,
): Promise<RecordsRead> {
  const findings: Findings = { quarantined: [], former: [], macs };
  const read = reader.all();
  const loaded: Partial<Record<RecordKind, readonly MetadataRecords[RecordKind][]>> = {};
  for (const kind of recordKinds) loaded[kind] = await read(kind, findings, which(kind));
  // One list for each kind, of its records.
  return { loaded: { ...loaded, quarantined: findings.quarantined } as LoadedMetadata, former: findings.former };
}

/** The rows of a kind, in these places alone, that meet a condition: what a statement selects. */
function inRanges(kind: NumerousKind, ranges: readonly RowRange[], condition: string): string {
  const table = sqlNames[kind];
  if (ranges.length === 0) return `select rowid from ${table} where false`;
  const places = ranges.map(({ first, last }) => `(${first}, ${last})`).join(', ');
  return `select found.rowid from (values ${places}) as place
    cross join ${table} as found not indexed on found.rowid >= place.column1 and found.rowid <= place.column2 where (${condition})`;
}

/**
 * Selects the ids of keys of which all is read: those whose making did not end, and those that were deleted: whatever is there of these
 * was put back.
 */
function keysToRead(database: DatabaseSync, unfinishedKeys: string, unfinishedMaterial: string): string {
  // Of both tables by themselves: to join two lists in the order of their ids, each row would be looked up by itself.
  const text = `select key_id from kms_key where rowid in (${unfinishedKeys})
    union select key_id from backing_key where rowid in (${unfinishedMaterial})`;
  const unfinished = database
    .prepare(text)
    .all()
    .map((row) => `('${String(row['key_id']).replaceAll("'", "''")}')`);
  const deleted = 'select key_id from tombstone';
  return unfinished.length === 0 ? deleted : `${deleted} union all values ${unfinished.join(', ')}`;
}

/** The rows of a kind that are of these keys. Each Region is looked into by itself: it comes first in the index. */
function ofKeys(kind: NumerousKind, keys: string): string {
  const table = sqlNames[kind];
  if (kind === 'backingKey') return `select rowid from backing_key where key_id in (${keys})`;
  return `select found.rowid from (${regionsIn(table)}) as place
    cross join ${table} as found on found.region = place.region where found.key_id in (${keys})`;
}

/** One of each Region, key store and domain key: the configuration has to name them. */
function oneOfEach(kind: NumerousKind): readonly string[] {
  if (kind === 'backingKey') return [`select number from (${oneOfEachDomainKey})`];
  if (kind !== 'key') return [];
  const one = '(select rowid from kms_key where kms_key.region = place.region limit 1)';
  return [`select ${one} from (${regionsIn('kms_key')}) as place`];
}

/** The Regions that a table has rows of, each found behind the one before. */
function regionsIn(table: string): string {
  return `with recursive each(region) as (
      select min(region) from ${table}
      union all
      select (select min(region) from ${table} where region > each.region) from each where each.region is not null
    ) select region from each where region is not null`;
}

/** In the same way. */
const oneOfEachDomainKey = `with recursive each(number) as (
    select (select rowid from backing_key where wrapped_key <> '' order by key_store, domain_key_id limit 1)
    union all
    select (
      select rowid from backing_key where wrapped_key <> '' and (key_store, domain_key_id) > (one.key_store, one.domain_key_id)
      order by key_store, domain_key_id limit 1
    ) from each join backing_key as one on one.rowid = each.number
  ) select number from each where number is not null`;
