/** Reading statements, each prepared once under a name. */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { inputValue } from './sqlite-database.ts';
import { asStoreError } from './store-error.ts';
import type { Row } from './verified-rows.ts';

/** A statement that was prepared. */
export type PreparedRead = StatementSync;

export class PreparedReads {
  readonly #database: DatabaseSync;
  readonly #path: string;
  readonly #statements = new Map<string, PreparedRead>();

  /** @param path Of the file, for what is said of it. */
  constructor(database: DatabaseSync, path: string) {
    this.#database = database;
    this.#path = path;
  }

  /** @param text Of what has this name, the first time. */
  named(name: string, text: () => string): PreparedRead {
    let statement = this.#statements.get(name);
    if (statement === undefined) {
      statement = this.#database.prepare(text());
      statement.setReadBigInts(true);
      statement.setReturnArrays(true);
      this.#statements.set(name, statement);
    }
    return statement;
  }

  /** All rows that it gives. @throws StoreError */
  all(statement: PreparedRead, parameters: readonly unknown[]): readonly Row[] {
    try {
      return statement.all(...parameters.map(inputValue)) as unknown as Row[];
    } catch (error) {
      throw asStoreError(error, 'read the metadata store', this.#path);
    }
  }
}

/** Numbers of rows begin with 1, but for those of somebody who edited the file: MACs do not have them. No row is passed over for its number. */
export const [lowestRow, highestRow] = [-(2n ** 63n), 2n ** 63n - 1n] as const;
