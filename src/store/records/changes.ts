/**
 * A change: one record put or removed. It is the only way in which metadata becomes different: the store writes it, and
 * every fold over the records (`turns.ts`) applies it, so that memory and disk cannot differ.
 *
 * A change says which version of the record it was decided on. INVARIANT, kept by the store: a record is put or removed only
 * while it is on disk in that version; so whoever decided on what is no longer true changes nothing, whatever he waited for.
 */

import type { MetadataRecords, RecordKind } from './records.ts';

export type Change = {
  [Kind in RecordKind]:
    | {
        readonly put: Kind;
        readonly record: MetadataRecords[Kind];
        /** The version that it is put in the place of; `null`: there is none. */
        readonly replaces: number | null;
      }
    | { readonly remove: Kind /** As it was seen. */; readonly record: MetadataRecords[Kind] };
}[RecordKind];

/** The change that puts a record which was not there. */
export function added<Kind extends RecordKind>(put: Kind, record: MetadataRecords[Kind]): Change {
  return { put, record, replaces: null } as Change; // One kind's put and record, which TypeScript cannot carry through a call.
}

/** The change that gives a record other members. Its primary key stays. */
export function replaced<Kind extends RecordKind>(
  put: Kind,
  record: MetadataRecords[Kind],
  members: Partial<Omit<MetadataRecords[Kind], 'version'>>,
): Change {
  const next = { ...record, ...members, version: record.version + 1 };
  return { put, record: next, replaces: record.version } as Change; // As above.
}

/** The change that removes a record, as it was seen. */
export function removed<Kind extends RecordKind>(remove: Kind, record: MetadataRecords[Kind]): Change {
  return { remove, record } as Change; // As above.
}
