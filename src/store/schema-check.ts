/**
 * The schema that a file has, compared with the one that our migrations make.
 *
 * Whoever can write to the file can put more than rows into it: a trigger that swallows the removal of a grant
 * (`RAISE(IGNORE)`) or undoes an update, a view under the name of a table, a table without its primary key. SQLite runs all of
 * that as part of our own statements. INVARIANT: before a statement of ours changes anything, a migration's included, every
 * object in the file is one that our steps made, to the letter, and none is missing.
 *
 * What they make is not written down a second time: the steps that the file has been through are run on an empty database in
 * memory. Texts are compared with their white space reduced; a step whose text comes out otherwise (another Kysely, say) shows in
 * the tests with files of former versions.
 */

import { type Kysely, sql } from 'kysely';
import { StoreError } from './store-error.ts';

/** A row of `sqlite_schema`. Indexes that SQLite makes for a primary key have no text. */
export interface SchemaObject {
  readonly type: string;
  readonly name: string;
  readonly tblName: string;
  readonly sql: string | null;
}

/** More of them say nothing that the first do not. */
const namedAtMost = 5;

/** All tables, indexes, triggers and views. @param db Of the plugin that makes names camelCase. */
export async function schemaOf<Schema>(db: Kysely<Schema>): Promise<readonly SchemaObject[]> {
  const { rows } = await sql<SchemaObject>`select type, name, tbl_name, sql from sqlite_schema`.execute(db);
  return rows;
}

/**
 * @param ours What our steps make.
 * @param options.mayLack The file may have less: it is new, or what made it was interrupted.
 * @throws StoreError `altered`, which names what is not ours.
 */
export function assertSameSchema(
  path: string,
  found: readonly SchemaObject[],
  ours: readonly SchemaObject[],
  { mayLack }: { readonly mayLack: boolean },
): void {
  const expected = new Map(ours.map((object) => [identityOf(object), textOf(object)]));
  const problems: string[] = [];
  for (const object of found) {
    const text = expected.get(identityOf(object));
    expected.delete(identityOf(object));
    if (text === undefined) problems.push(`${labelOf(object)} is none of Drawbridge's`);
    else if (text !== textOf(object)) problems.push(`${labelOf(object)} is not as Drawbridge made it`);
  }
  if (!mayLack) {
    for (const object of ours) if (expected.has(identityOf(object))) problems.push(`${labelOf(object)} is missing`);
  }
  if (problems.length === 0) return;
  const more = problems.length > namedAtMost ? `, and ${problems.length - namedAtMost} more` : '';
  throw new StoreError(
    'altered',
    `the schema of \`${path}\` was altered: ${problems.slice(0, namedAtMost).join(', ')}${more}; ` +
      'whoever did that can change records: find out who could write to the file, and restore it from a backup',
  );
}

function identityOf({ type, name, tblName }: SchemaObject): string {
  return JSON.stringify([type, name, tblName]);
}

function labelOf({ type, name, tblName }: SchemaObject): string {
  return name === tblName ? `its ${type} \`${name}\`` : `its ${type} \`${name}\` on \`${tblName}\``;
}

function textOf(object: SchemaObject): string {
  return (object.sql ?? '').replace(/\s+/g, ' ').trim();
}
