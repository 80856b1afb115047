/**
 * Encryption numbers that each backing key has from a start, few, and on record for all of them together.
 *
 * A backing key needs numbers on record before it encrypts (`encryption-counter.ts`). A block of its own for each is a page of the file and a
 * sync of the disk for each key that is used after a start: with a million keys that is what most requests would wait for. So where keys
 * are read on demand a start is counted on record, once for all, and with it each backing key has `numbersPerStart` more.
 * INVARIANT: a backing key has done no more encryptions than its record reserves and `numbersPerStart` for each start on record; the
 * limit is held to the sum, whether it used them or not.
 *
 * How many of them a key has taken outlives its being in memory: in a table of small counts, where keys whose ids come to the same place
 * are counted together. So none takes more than it has, and one that shares its place has a block of its own sooner.
 *
 * Material that has records of several Regions, or that somebody may import again, has none: it would be counted in two places.
 */

import type { BackingKeyId } from '../kms/names.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';

/** Few keys are used as often between two starts. */
export const numbersPerStart = 4096;

/**
 * A sixteenth of the limit in numbers; a year of starts eight minutes apart. After as many none is counted and none has
 * numbers to give: a daemon that is started over and over costs its keys no more than that.
 */
export const maxCountedStarts = 65_536;

/** 2 MiB of counts. With a million keys in use each shares its place with one other. */
const placeBits = 20;

export class StartNumbers {
  readonly #taken: Uint16Array | undefined;
  /** Of a backing key by all starts: so many count as used. */
  readonly ofAllStarts: number;

  /**
   * @param starts So many are on record.
   * @param hasNew Is the last of them this one? Otherwise there are no numbers to be had.
   */
  constructor(starts: number, hasNew: boolean) {
    this.ofAllStarts = starts * numbersPerStart;
    this.#taken = hasNew ? new Uint16Array(2 ** placeBits) : undefined;
  }

  /** Takes one. @returns How many are left, or `undefined` where there was none. */
  tryTake(backingKeyId: BackingKeyId): number | undefined {
    const place = Number.parseInt(backingKeyId.slice(0, placeBits / 4), 16);
    const taken = this.#taken?.[place];
    if (this.#taken === undefined || taken === undefined || taken >= numbersPerStart) return undefined;
    this.#taken[place] = taken + 1;
    return numbersPerStart - taken - 1;
  }
}

/** No start was counted, as where all keys are in memory. */
export const noStartNumbers = new StartNumbers(0, false);

/** Is it counted in one place alone? */
export function canHaveStartNumbers({
  keyId,
  importedMaterialId,
}: Pick<BackingKeyRecord, 'keyId' | 'importedMaterialId'>): boolean {
  return !keyId.startsWith('mrk-') && importedMaterialId === '';
}
