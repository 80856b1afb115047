/**
 * The rows of keys that were read and wait for the HSM to verify some of them.
 *
 * Whoever asked for such a key asks again in a moment (`UnverifiedRecords`), and would read the same rows: half of what a first use costs
 * the database. They are judged each time that they are looked at, so one that was replaced meanwhile is not in force any more; and after
 * any write all are read again, since there may be more of them.
 */

import type { SeenRow } from './verified-rows.ts';

export interface SeenKey {
  readonly key: readonly SeenRow[];
  readonly keyPolicy: readonly SeenRow[];
  readonly backingKey: readonly SeenRow[];
  readonly hasGrants: boolean;
}

/** As many as wait at once, mostly; of more the first are read again. */
const maxSeen = 256;

export class KeysLookedUp {
  readonly #keys = new Map<string, SeenKey>();

  of(name: string): SeenKey | undefined {
    return this.#keys.get(name);
  }

  keep(name: string, key: SeenKey): void {
    this.#keys.set(name, key);
    if (this.#keys.size <= maxSeen) return;
    for (const oldest of this.#keys.keys()) {
      this.#keys.delete(oldest);
      break;
    }
  }

  drop(name: string): void {
    this.#keys.delete(name);
  }

  /** Something was written. */
  clear(): void {
    this.#keys.clear();
  }
}
