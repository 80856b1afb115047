/**
 * Texts that many records have alike, each kept once: an id stands in the records of its key, its material, its policy and its
 * aliases, and most keys have the policy that CreateKey gives them. Of 100,000 keys that is a third of what their records take.
 */

import { memberNames, recordKinds } from './record-columns.ts';
import type { RecordKind } from './records/records.ts';

/** The columns whose texts are worth a look-up. */
const sharedColumns: ReadonlySet<string> = new Set([
  ...['region', 'keyStore', 'residency', 'keyId'],
  ...['document', 'grantee', 'retiring', 'issuingAccount', 'principal'],
]);

const sharedColumnsOf = new Map(
  recordKinds.map((kind) => [kind, memberNames(kind).filter((name) => sharedColumns.has(name))]),
);

export class SharedTexts {
  readonly #texts = new Map<string, string>();

  /** Puts into a row, in place of its texts, the equal ones that another row had before. */
  share(kind: RecordKind, row: Record<string, unknown>): void {
    for (const column of sharedColumnsOf.get(kind) ?? []) {
      const value = row[column];
      if (typeof value !== 'string') continue;
      const known = this.#texts.get(value);
      if (known === undefined) this.#texts.set(value, value);
      else row[column] = known;
    }
  }
}
