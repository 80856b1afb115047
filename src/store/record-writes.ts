/** Changes as the writes that make them, with the MACs of the records that they put. */

import { memberNames } from './record-columns.ts';
import { CanonicalForm, newestFormat, type RecordFormats } from './record-mac.ts';
import { macsOfAll } from './record-macs.ts';
import type { ReaderParts } from './record-reader.ts';
import { type FormerRow, type PreparedChange, type Row, removal, rewriting, writing } from './record-statements.ts';
import type { RecordKind } from './records/records.ts';
import type { Write } from './transactions.ts';

type WriteParts = Pick<ReaderParts, 'db' | 'formats' | 'macs'>;

/** In their order. Rejects with what the HSM fails with. */
export async function writesOf(parts: WriteParts, changes: readonly PreparedChange[]): Promise<readonly Write[]> {
  const puts = changes.filter(({ change }) => 'put' in change);
  const rows = (await rowsOfChanges(parts, puts)).values();
  return changes.map((change) => {
    if ('remove' in change.change) return removal(parts.db, change);
    return writing(parts.db, change, rows.next().value as Row); // There is one for each that is put.
  });
}

/** Records as they are written; their MACs are computed together. */
export async function rowsOfChanges(
  { formats, macs }: Omit<WriteParts, 'db'>,
  changes: readonly PreparedChange[],
): Promise<readonly Row[]> {
  const formatOf = ({ kind }: PreparedChange): number => newestFormat(formats[kind]);
  const forms = formsOf(changes, formats);
  const computed = await macsOfAll(macs, forms);
  return changes.map((change, index) => ({
    ...change.columns,
    format: formatOf(change),
    mac: (computed[index] as Buffer).toString('hex'), // There are as many.
  }));
}

function formsOf(changes: readonly PreparedChange[], formats: RecordFormats): readonly Buffer[] {
  const ofKinds = new Map<RecordKind, CanonicalForm>();
  return changes.map(({ kind, columns }) => {
    let form = ofKinds.get(kind);
    if (form === undefined) {
      form = new CanonicalForm(kind, memberNames(kind), newestFormat(formats[kind]));
      ofKinds.set(kind, form);
    }
    return form.of(memberNames(kind).map((name) => columns[name]));
  });
}

/** Those that put the records of former rows in their places, in today's format. Rejects with what `macs` rejects with. */
export async function rewritesOf(parts: WriteParts, former: readonly FormerRow[]): Promise<readonly Write[]> {
  const rows = await rowsOfChanges(
    parts,
    former.map(({ anew }) => anew),
  );
  return former.map((row, index) => rewriting(parts.db, row, rows[index] as Row)); // There are as many.
}
