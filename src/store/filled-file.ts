/**
 * Many records at once, into the metadata of an instance that nobody else uses: for measurements and tests.
 *
 * `MetadataStore` looks at each row before it writes it and waits for the disk; a million keys would take it hours. The rows are the
 * same here, with MACs by the HSM and a root over all of them. Nothing of a daemon uses it.
 */

import type { StatementSync } from 'node:sqlite';
import { CamelCasePlugin, Kysely } from 'kysely';
import { scanMacs } from './mac-scan.ts';
import type { RecordMacs } from './metadata-store.ts';
import { recordFormats } from './record-mac.ts';
import { prepareChange, type Tables, tables } from './record-statements.ts';
import { rowsOfChanges } from './record-writes.ts';
import type { Change } from './records/changes.ts';
import { type RootParts, rootRows, SignedRoot } from './signed-root.ts';
import { inputValue, openDatabaseFile, rowsOf, sqliteDialect } from './sqlite-database.ts';

export class FilledFile implements Disposable {
  readonly #database;
  readonly #db: Kysely<Tables>;
  readonly #macs: RecordMacs;
  readonly #path: string;
  readonly #insertions = new Map<string, StatementSync>();

  constructor(path: string, macs: RecordMacs) {
    this.#path = path;
    this.#macs = macs;
    this.#database = openDatabaseFile(path);
    // Nothing is lost with it that anybody would miss. Ids that are in no order touch all pages of their indexes again and again, so the
    // pages are written once, at the end of one transaction: with a log of each they were a million keys' quarter of an hour.
    this.#database.exec('PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA cache_size = -3000000; BEGIN');
    this.#db = new Kysely<Tables>({ dialect: sqliteDialect(this.#database), plugins: [new CamelCasePlugin()] });
  }

  /** Records that are not there. While the HSM is at their MACs, the caller may make the next ones. */
  async put(changes: readonly Change[]): Promise<void> {
    const prepared = changes.map(prepareChange);
    const rows = await rowsOfChanges({ formats: recordFormats, macs: this.#macs }, prepared);
    for (const [index, { kind }] of prepared.entries()) {
      const row = rows[index] ?? {};
      let insertion = this.#insertions.get(kind);
      if (insertion === undefined) {
        insertion = this.#database.prepare(this.#db.insertInto(tables[kind]).values(row).compile().sql);
        this.#insertions.set(kind, insertion);
      }
      insertion.run(...Object.values(row).map(inputValue));
    }
  }

  /** The root over all rows, as a change would have left it. @param key Derived for `metadata-root`. */
  sign(key: Buffer, parts: Pick<RootParts, 'nodeId' | 'serviceKeys'>): void {
    const root = new SignedRoot({ db: this.#db, ...parts }, key);
    const { sum } = scanMacs(this.#database, root.sums, this.#path);
    root.take([...rowsOf(this.#database, rootRows(this.#db))], sum);
    const none = { replaced: [], put: [], rows: { replaced: [], put: [] } };
    const { statement } = root.after(none, undefined).write;
    this.#database.prepare(statement.sql).run(...statement.parameters.map(inputValue));
    this.#database.exec('COMMIT');
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}
