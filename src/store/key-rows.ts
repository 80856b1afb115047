/**
 * The rows of one KMS key, its record, its policy and its material, read by one statement: three of them take three times as long, since
 * most of it is the call (25 µs of CPU and 68, `node:sqlite`, 100,000 keys).
 */

import { memberNames } from './record-columns.ts';
import { tables } from './record-statements.ts';

type Row = readonly unknown[];

const kinds = ['key', 'keyPolicy', 'backingKey'] as const;
type Kind = (typeof kinds)[number];

/** As `CamelCasePlugin` names them in the file. */
const inFile = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The columns of a row, as everywhere, with the number of the row before them: there is none where there is no row. */
const columnsOf = (kind: Kind): readonly string[] =>
  ['rowid', ...memberNames(kind).map(inFile), 'format', 'mac'].map((name) => `${kind}Row.${name}`);

const table = (kind: Kind): string => `${inFile(tables[kind])} as ${kind}Row`;

/** Of a Region and a key id. */
export const rowsOfKeyStatement = `select ${kinds.flatMap(columnsOf).join(', ')} from ${table('key')}
  left join ${table('keyPolicy')} on keyPolicyRow.region = keyRow.region and keyPolicyRow.key_id = keyRow.key_id
  left join ${table('backingKey')} on backingKeyRow.key_id = keyRow.key_id
  where keyRow.region = ? and keyRow.key_id = ?`;

/** @param joined What the statement gives. @returns Each row once. */
export function rowsOfKey(joined: readonly Row[]): Readonly<Record<Kind, readonly Row[]>> {
  const found: Record<Kind, readonly Row[]> = { key: [], keyPolicy: [], backingKey: [] };
  let from = 0;
  for (const kind of kinds) {
    const end = from + columnsOfKind[kind];
    const byNumber = new Map<unknown, Row>();
    for (const row of joined) if (row[from] !== null) byNumber.set(row[from], row.slice(from + 1, end));
    found[kind] = [...byNumber.values()];
    from = end;
  }
  return found;
}

const columnsOfKind = Object.fromEntries(kinds.map((kind) => [kind, columnsOf(kind).length])) as Readonly<
  Record<Kind, number>
>; // One for each kind.
