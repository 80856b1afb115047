/**
 * Texts that many records have alike, each kept once: an id stands in the records of its key, its material, its policy and its
 * aliases, and most keys have the policy that CreateKey gives them. Of 100,000 keys that is a third of what their records take.
 */

import { memberNames, recordKinds } from './record-columns.ts';
import type { RecordKind } from './records/records.ts';

/** The columns whose texts are worth a look-up. */
const sharedColumns: ReadonlySet<string> = new Set([
  ...['region', 'regions', 'keyStore', 'residency', 'keyId', 'domainKeyId'],
  ...['document', 'grantee', 'retiring', 'issuingAccount', 'principal'],
]);

/** Of each kind, where these stand among its columns. */
const sharedColumnsOf = new Map(
  recordKinds.map((kind) => [
    kind,
    memberNames(kind).flatMap((name, index) => (sharedColumns.has(name) ? [index] : [])),
  ]),
);

export class SharedTexts {
  readonly #texts = new Map<string, string>();

  /**
   * For the rows of one kind: puts into a row, in place of its texts, the equal ones that another row had before.
   * A text that the row before had in the same column is found without a look-up.
   */
  sharing(kind: RecordKind): (row: unknown[]) => void {
    const columns = sharedColumnsOf.get(kind) ?? [];
    const before: unknown[] = [];
    return (row) => {
      for (const column of columns) {
        const value = row[column];
        if (value === before[column]) row[column] = before[column];
        else if (typeof value === 'string') row[column] = before[column] = this.#shared(value);
      }
    };
  }

  /**
   * The same for rows that are read one by one for as long as the process runs: with what the row before had, since nobody would say
   * when a text is needed no more.
   */
  static sharingWithBefore(kind: RecordKind): (row: unknown[]) => void {
    const columns = sharedColumnsOf.get(kind) ?? [];
    const before: unknown[] = [];
    return (row) => {
      for (const column of columns) {
        if (row[column] === before[column]) row[column] = before[column];
        else before[column] = row[column];
      }
    };
  }

  #shared(value: string): string {
    const known = this.#texts.get(value);
    if (known === undefined) this.#texts.set(value, value);
    return known ?? value;
  }
}
