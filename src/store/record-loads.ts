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
import type { LoadedMetadata } from './metadata-store.ts';
import { recordKinds } from './record-columns.ts';
import { newestFormat, type RecordFormats } from './record-mac.ts';
import type { Findings, ReaderParts, RecordReader } from './record-reader.ts';
import type { NumerousKind } from './record-source.ts';
import type { FormerRow } from './record-statements.ts';
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

/** As few as it can. */
export function loadAtStart(reader: RecordReader, { database, formats }: ReaderParts): Promise<RecordsRead> {
  const conditions = conditionsAtStart(database);
  return load(
    reader,
    () => undefined,
    (kind) => {
      const condition = (conditions as Partial<Record<RecordKind, string>>)[kind];
      return condition === undefined ? undefined : sql.raw(`(${condition} or ${isFormer(kind, formats)})`);
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

/** They are verified and written anew at the start. */
function isFormer(kind: RecordKind, formats: RecordFormats): string {
  return `format <> ${newestFormat(formats[kind])}`;
}

/** Of keys that were deleted: whatever is there of them was put back. */
const buried = 'key_id in (select key_id from tombstone)';

/**
 * What a start has to know of the kinds that there can be many of: what did not finish, what something is due of, what lives in a token,
 * and one of each Region, key store and domain key.
 */
function conditionsAtStart(database: DatabaseSync): Readonly<Record<NumerousKind, string>> {
  const ids = database
    .prepare(
      // Of both tables in their own order: to join two lists in that of their ids, each row would be looked up by itself.
      "select key_id from kms_key where state = 'Creating' union all select key_id from backing_key where state = 'Creating'",
    )
    .all()
    .map((row) => `'${String(row['key_id']).replaceAll("'", "''")}'`);
  const unfinished = `key_id in (${ids.join(', ')})`;
  return {
    key: `state not in ('Enabled', 'Disabled') or origin <> 'AWS_KMS' or next_rotation_date_ms <> 0
      or ${buried} or ${unfinished} or rowid in (select min(rowid) from kms_key group by region)`,
    backingKey: `residency <> 'wrapped' or state <> 'Active' or ${buried} or ${unfinished}
      or rowid in (select min(rowid) from backing_key group by key_store, domain_key_id)`,
    keyPolicy: `${buried} or ${unfinished}`,
    alias: buried,
    grant: buried,
    lastUse: buried,
  };
}
