/**
 * The rows of one KMS key, its record, its policy and its material, read by one statement: three of them take three times as long, since
 * most of it is the call (25 µs of CPU and 68, `node:sqlite`, 100,000 keys).
 */

import { memberNames } from './record-columns.ts';
import { tables } from './record-statements.ts';
import { SharedTexts } from './shared-texts.ts';

type Row = readonly unknown[];

const kinds = ['key', 'keyPolicy', 'backingKey'] as const;
type Kind = (typeof kinds)[number];

/** As `CamelCasePlugin` names them in the file. */
const inFile = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The columns of a row, as everywhere, with the number of the row before them: there is none where there is no row. */
const columnsOf = (kind: Kind): readonly string[] =>
  ['rowid', ...memberNames(kind).map(inFile), 'format', 'mac'].map((name) => `${kind}Row.${name}`);

const table = (kind: Kind): string => `${inFile(tables[kind])} as ${kind}Row`;

/** Most keys have none, and are not asked for them again: as a statement of its own it takes as long as a fifth of this one. */
const hasGrants = `exists(select 1 from ${inFile(tables.grant)} as grantRow
    where grantRow.region = keyRow.region and grantRow.key_id = keyRow.key_id)`;

/** Of a Region and a key id. */
export const rowsOfKeyStatement = `select ${kinds.flatMap(columnsOf).join(', ')}, ${hasGrants} from ${table('key')}
  left join ${table('keyPolicy')} on keyPolicyRow.region = keyRow.region and keyPolicyRow.key_id = keyRow.key_id
  left join ${table('backingKey')} on backingKeyRow.key_id = keyRow.key_id
  where keyRow.region = ? and keyRow.key_id = ?`;

export type RowsOfKey = Readonly<Record<Kind, readonly Row[]>> & { readonly hasGrants: boolean };

/** @param joined What the statement gives. @returns Each row once. */
export function rowsOfKey(joined: readonly Row[]): RowsOfKey {
  const found: Record<Kind, Row[]> = { key: [], keyPolicy: [], backingKey: [] };
  const keyId = joined[0]?.[1 + keyIdAt.key];
  let from = 0;
  for (const kind of kinds) {
    const end = from + columnsOfKind[kind];
    for (const [index, row] of joined.entries()) {
      // Each material of the key brings its record and its policy along once more; most have one.
      const isAgain = index > 0 && joined.findIndex((other) => other[from] === row[from]) < index;
      if (row[from] === null || isAgain) continue;
      const ofKind = row.slice(from + 1, end);
      share[kind](ofKind);
      // One text for all records of the key.
      if (ofKind[keyIdAt[kind]] === keyId) ofKind[keyIdAt[kind]] = keyId;
      found[kind].push(ofKind);
    }
    from = end;
  }
  return { ...found, hasGrants: joined.some((row) => row[from] === 1n) };
}

const columnsOfKind = Object.fromEntries(kinds.map((kind) => [kind, columnsOf(kind).length])) as Readonly<
  Record<Kind, number>
>; // One for each kind.

const keyIdAt = Object.fromEntries(kinds.map((kind) => [kind, memberNames(kind).indexOf('keyId')])) as Readonly<
  Record<Kind, number>
>; // Likewise.

/** What is read stays in memory for as many keys as there is room for, and most keys have one policy and live in one place. */
const share = Object.fromEntries(kinds.map((kind) => [kind, SharedTexts.sharingWithBefore(kind)])) as Readonly<
  Record<Kind, (row: unknown[]) => void>
>; // Likewise.
