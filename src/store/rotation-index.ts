/**
 * When keys are to be rotated, from an index by their dates: of a million keys with automatic rotation the few whose time comes are found
 * without reading the others.
 *
 * Nothing of it is verified: whoever rotates a key reads its record first, and goes by the date that stands there.
 */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type KeyId, parseKeyId } from '../kms/names.ts';
import type { RunningCounts } from './running-counts.ts';
import { inputValue } from './sqlite-database.ts';
import { asStoreError } from './store-error.ts';

export interface RotationDate {
  readonly keyId: KeyId;
  readonly nextRotationDateMs: number;
  readonly isEnabled: boolean;
}

export class RotationIndex {
  readonly #database: DatabaseSync;
  readonly #path: string;
  readonly #counts: Pick<RunningCounts, 'rotated'>;
  readonly #statements = new Map<string, StatementSync>();

  /** @param path Of the file, for what is said of it. */
  constructor(
    { database, path }: { readonly database: DatabaseSync; readonly path: string },
    counts: Pick<RunningCounts, 'rotated'>,
  ) {
    this.#counts = counts;
    this.#database = database;
    this.#path = path;
  }

  /** So many enabled keys whose date is after one and by another, soonest first. @throws StoreError when the disk refuses. */
  between(region: string, { afterMs, untilMs }: { readonly afterMs: number; readonly untilMs: number }, limit: number) {
    const rows = this.#all(
      `select key_id, next_rotation_date_ms, 'Enabled' from kms_key
        where region = ? and next_rotation_date_ms <> 0 and next_rotation_date_ms > ? and next_rotation_date_ms <= ?
          and state = 'Enabled'
        order by next_rotation_date_ms limit ?`,
      [region, afterMs, untilMs, limit],
    );
    return rows.flatMap(rotationIn);
  }

  /** How many enabled keys have a date. */
  count(region: string): number {
    return this.#counts.rotated(region);
  }

  of(region: string, keyId: KeyId): RotationDate | undefined {
    const rows = this.#all(
      `select key_id, next_rotation_date_ms, state from kms_key
        where region = ? and key_id = ? and next_rotation_date_ms <> 0`,
      [region, keyId],
    );
    return rows.flatMap(rotationIn)[0];
  }

  #all(text: string, values: readonly unknown[]): readonly (readonly unknown[])[] {
    try {
      let statement = this.#statements.get(text);
      if (statement === undefined) {
        statement = this.#database.prepare(text);
        statement.setReadBigInts(true);
        statement.setReturnArrays(true);
        this.#statements.set(text, statement);
      }
      // The types of `node:sqlite` know rows as objects alone.
      return statement.all(...values.map(inputValue)) as unknown as unknown[][];
    } catch (error) {
      throw asStoreError(error, 'read the metadata store', this.#path);
    }
  }
}

/** What is none of ours was put there by somebody, and is named when its record is read. */
function rotationIn([id, date, state]: readonly unknown[]): readonly RotationDate[] {
  const keyId = parseKeyId(String(id));
  if (keyId === undefined || typeof date !== 'bigint') return [];
  return [{ keyId, nextRotationDateMs: Number(date), isEnabled: state === 'Enabled' }];
}
