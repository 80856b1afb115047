/**
 * Rows of former formats, as the version that wrote them left them: those of before today, and today's, which are former
 * ones for `nextFormats`. What they lack follows from `recordFormats`; `record-formats.test.ts` holds that to what it was.
 */

import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import type { ColumnValue } from '../../src/store/column-member.ts';
import { fromColumns, memberNames, recordKinds, toColumns } from '../../src/store/record-columns.ts';
import { canonicalRecord, newestFormat, type RecordFormats, recordFormats } from '../../src/store/record-mac.ts';
import { tables } from '../../src/store/record-statements.ts';
import { type MetadataRecords, primaryKeys, type RecordKind } from '../../src/store/records/records.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { arbitraryRecord } from './arbitrary-records.ts';
import { type AnyPut, addedAny, examples, formerRegion, removeRoot, testMac, testMacs } from './records.ts';

/** A member of each kind that came with the first format, and a value that its column could have got in older rows. */
const nextMembers = {
  key: ['description', ''],
  backingKey: ['createdAtMs', 0],
  keyPolicy: ['document', ''],
  alias: ['updatedAtMs', 0],
  grant: ['name', ''],
  accessKey: ['createdAtMs', 0],
  tombstone: ['deletedAtMs', 0],
  lastUse: ['usedAtMs', 0],
  wrappingKey: ['createdAtMs', 0],
  customKeyStore: ['createdAtMs', 0],
  milestone: ['reachedAtMs', 0],
  upkeepWait: ['ranMs', 0],
  domainKey: ['createdAtMs', 0],
  remnant: ['createdAtMs', 0],
  member: ['leftAtMs', 0],
} as const satisfies { [Kind in RecordKind]: readonly [keyof MetadataRecords[Kind], ColumnValue] };

/** One more of each kind than today, as if a member that has always been there were to come with it. */
export const nextFormats: RecordFormats = ofEachKind((kind) => {
  const [member, column] = nextMembers[kind];
  return { ...recordFormats[kind], [member]: { format: newestFormat(recordFormats[kind]) + 1, column } };
});

export interface Format {
  readonly kind: RecordKind;
  readonly table: string;
  readonly format: number;
  /** Those of the version that reads the row. */
  readonly formats: RecordFormats;
  /** What a row of it lacks, as members, and what the migration puts in their columns. */
  readonly lacks: Readonly<Record<string, ColumnValue>>;
}

/** Each format of each kind but the newest one, for a version with these formats. */
export function formersOf(formats: RecordFormats): readonly Format[] {
  return recordKinds.flatMap((kind) =>
    Array.from({ length: newestFormat(formats[kind]) - 1 }, (_, index) => formerFormat(kind, index + 1, formats)),
  );
}

export function formerFormat(kind: RecordKind, format: number, formats: RecordFormats = recordFormats): Format {
  const later = Object.entries(formats[kind]).filter(([, added]) => added.format > format);
  const lacks = Object.fromEntries(later.map(([member, { column }]) => [member, column]));
  return { kind, table: snakeCase(tables[kind]), format, formats, lacks };
}

/** The example of the kind as such a row can tell it, with the Region that it gets if it has none. */
export function exampleOf({ kind, lacks }: Format): AnyPut {
  const region = 'region' in lacks ? { region: formerRegion } : {};
  const columns: Readonly<Record<string, unknown>> = { ...toColumns(kind, examples[kind]), ...lacks, ...region };
  const read = fromColumns(
    kind,
    memberNames(kind).map((name) => columns[name]),
  );
  if ('badColumn' in read) throw new TypeError(`${read.badColumn} of ${kind} cannot be what older rows have`);
  return addedAny(kind, read.record);
}

/** Another column than older rows have for a member that such a row lacks. */
export function otherColumn({ kind, lacks }: Format, member: string): ColumnValue {
  const other = samplesOf(kind)
    .map((sample) => sample[member])
    .find((column) => column !== lacks[member]);
  if (other === undefined) throw new TypeError(`arbitrary-records.ts has one value alone for ${member} of ${kind}`);
  return other;
}

const samples = new Map<RecordKind, readonly Readonly<Record<string, ColumnValue>>[]>();
function samplesOf(kind: RecordKind): readonly Readonly<Record<string, ColumnValue>>[] {
  const known = samples.get(kind);
  if (known !== undefined) return known;
  const columns: fc.Arbitrary<Readonly<Record<string, ColumnValue>>> = // The kind and its record come from the same row.
    (arbitraryRecord[kind] as fc.Arbitrary<MetadataRecords[RecordKind]>).map((record) => toColumns(kind, record));
  const drawn = fc.sample(columns, { numRuns: 100, seed: 1 });
  samples.set(kind, drawn);
  return drawn;
}

/** Leaves the records as a version with that format did: written whole, then taken back, MAC and all. */
export async function writeFormer(path: string, format: Format, puts: readonly AnyPut[]): Promise<void> {
  const store = await openSqliteStore({ path, macs: testMacs, formerRegion, formats: format.formats });
  await store.write(puts);
  await store.close();
  const database = new DatabaseSync(path);
  database.exec('BEGIN');
  for (const put of puts) await takeBack(database, format, put);
  removeRoot(database);
  database.exec('COMMIT');
  database.close();
}

async function takeBack(database: DatabaseSync, { kind, table, format, lacks }: Format, put: AnyPut): Promise<void> {
  const columns = toColumns(kind, put.record);
  const own = Object.fromEntries(Object.entries(columns).filter(([name]) => !(name in lacks)));
  const mac = (await testMac(canonicalRecord(kind, own, format))).toString('hex');
  const assigned = Object.entries({ ...lacks, format, mac });
  const assignments = assigned.map(([name]) => `${snakeCase(name)} = ?`);
  const conditions = primaryKeys[kind].map((name) => `${snakeCase(name)} = ?`);
  const { changes } = database
    .prepare(`UPDATE ${table} SET ${assignments.join(', ')} WHERE ${conditions.join(' AND ')}`)
    .run(...assigned.map(([, column]) => column), ...primaryKeys[kind].map((name) => columns[name] ?? ''));
  if (changes !== 1) throw new TypeError(`${changes} rows were taken back, not one`);
}

export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function ofEachKind<Value>(value: (kind: RecordKind) => Value): Readonly<Record<RecordKind, Value>> {
  // Each kind has its entry.
  return Object.fromEntries(recordKinds.map((kind) => [kind, value(kind)])) as Record<RecordKind, Value>;
}
