/**
 * How many keys are to be rotated, and how many backing keys are wrapped under which domain key, so that nobody goes through all of them:
 * counted at the start, in indexes, and kept up with what is written. They are told to people. Whoever destroys something for want of
 * any goes through the records themselves.
 */

import type { DatabaseSync } from 'node:sqlite';
import { memberNames } from './record-columns.ts';
import type { RecordKind } from './records/records.ts';
import type { Replaced } from './transactions.ts';

type Members = (name: string) => unknown;

export class RunningCounts {
  /** Enabled keys that have a date, by Region. */
  readonly #rotated: Map<string, number>;
  /** By `KEY-STORE DOMAIN-KEY`. */
  readonly #wrapped: Map<string, number>;

  constructor(database: DatabaseSync) {
    const counted = (text: string): Map<string, number> => {
      const rows = database.prepare(text).all() as { name: string; count: number }[]; // As the statements name them.
      return new Map(rows.map(({ name, count }) => [String(name), count]));
    };
    this.#rotated = counted(
      `select region as name, count(*) as count from kms_key where next_rotation_date_ms <> 0 and state = 'Enabled' group by region`,
    );
    this.#wrapped = counted(
      `select key_store || ' ' || domain_key_id as name, count from (
        select key_store, domain_key_id, count(*) as count from backing_key where wrapped_key <> '' group by key_store, domain_key_id)`,
    );
  }

  rotated(region: string): number {
    return this.#rotated.get(region) ?? 0;
  }

  wrappedUnder(): ReadonlyMap<string, number> {
    return this.#wrapped;
  }

  /** What a transaction has put into the place of what, once it is on disk. */
  follow({ rows }: Replaced): void {
    for (const { kind, row } of rows.replaced) {
      const names = memberNames(kind);
      this.#add(kind, (name) => row[names.indexOf(name)], -1);
    }
    for (const { kind, columns } of rows.put) this.#add(kind, (name) => columns[name], 1);
  }

  #add(kind: RecordKind, member: Members, by: 1 | -1): void {
    if (kind === 'key' && Number(member('nextRotationDateMs')) !== 0 && member('state') === 'Enabled')
      add(this.#rotated, String(member('region')), by);
    if (kind === 'backingKey' && member('wrappedKey') !== '')
      add(this.#wrapped, `${member('keyStore')} ${member('domainKeyId')}`, by);
  }
}

function add(counts: Map<string, number>, name: string, by: number): void {
  counts.set(name, (counts.get(name) ?? 0) + by);
}
