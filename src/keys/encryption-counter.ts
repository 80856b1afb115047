/**
 * How often a backing key has encrypted, and the promise that it never does so too often.
 *
 * AES-GCM with random 96-bit IVs is sound for 2^32 encryptions under one key (NIST SP 800-38D, 8.3). INVARIANT: the
 * record's `reservedEncryptions` is at least the number of encryptions done, and never above the limit. Numbers are
 * reserved in blocks before they are used, so the hot path only adds one; whatever a crash leaves unused of a block
 * stays used up. The next block is reserved before the last one is empty, so that nobody waits for the disk; and when there is
 * no next block, whoever can replace the backing key is told while there are numbers left, so that nobody waits for the HSM.
 *
 * A block belongs to whoever reserved it: what is on record (`follow`) tells how far all have come and gives nobody numbers.
 *
 * Where keys are read on demand, a backing key has numbers of the start first (`start-numbers.ts`), which are on record for all keys
 * together: `reservedEncryptions` and those of all starts are what must not be above the limit then.
 *
 * An encryption that the key store repeats after the loss of its host uses a second IV. One host's loss repeats at most
 * the calls in flight (4,096), and the limit leaves room for 256 such losses in the life of a backing key.
 */

import type { BackingKeyId, KeyId } from '../kms/names.ts';
import { numbersPerStart } from './start-numbers.ts';

/** 2^32 less what repeated calls may have used on top: 4,096 calls in flight, lost 256 times, are 2^20. */
export const maxEncryptionsPerBackingKey = 2 ** 32 - 2 ** 20;
/** At 20,000 encryptions a second one write in three seconds; 65,520 starts of the daemon before a key rotates early. */
const reservationBlock = 2 ** 16;

export interface EncryptionLimits {
  readonly maxEncryptionsPerBackingKey: number;
  readonly reservationBlock: number;
}

export const defaultEncryptionLimits: EncryptionLimits = { maxEncryptionsPerBackingKey, reservationBlock };

/** Numbers from `from` up to, but without, `to`. */
export interface NumberBlock {
  readonly from: number;
  readonly to: number;
}

/**
 * The block after what is on record; `undefined` when the limit is reached.
 * @param reserved What is on record.
 */
export function nextBlock(reserved: number, limits: EncryptionLimits): NumberBlock | undefined {
  const to = Math.min(reserved + limits.reservationBlock, limits.maxEncryptionsPerBackingKey);
  return to > reserved ? { from: reserved, to } : undefined;
}

/** Shares of the limit at which an operator hears of a backing key that nothing but he can have replaced. */
const warningSteps = [0.75, 0.9, 0.95, 0.99, 1];

/** Which share of the limit is used up, as one of the steps of which an operator hears; 0: none yet. */
export function exhaustionStep(reserved: number, { maxEncryptionsPerBackingKey: max }: EncryptionLimits): number {
  return warningSteps.findLast((step) => reserved >= step * max) ?? 0;
}

const noNumbers: NumberBlock = { from: 0, to: 0 };

/** Whose numbers a counter counts. */
export interface CountedMaterial {
  readonly keyId: KeyId;
  readonly backingKeyId: BackingKeyId;
  /** Has it numbers of the start as well? */
  readonly hasStartNumbers: boolean;
}

/** Where counters get their numbers: one for all, since there are as many counters as keys in memory. */
export interface NumberSource {
  readonly limits: EncryptionLimits;
  /** Puts the next block on record; resolves when it is on disk, with `undefined` when there is none. */
  reserveBlock(counter: EncryptionCounter): Promise<NumberBlock | undefined>;
  /** Called once by each counter, when the last numbers are being used. */
  runOut(material: CountedMaterial): void;
  /** Takes a number of the start; gives how many are left, `undefined` when there was none. */
  takeOfStart(material: CountedMaterial): number | undefined;
}

export class EncryptionCounter {
  readonly material: CountedMaterial;
  readonly #source: NumberSource;
  #isRunningOut = false;
  /** By whomever. */
  #onRecord: number;
  /** The next number of the block in use, and its end. */
  #next = 0;
  #end = 0;
  /** The block after that, once it is reserved. */
  #later = noNumbers;
  #reserving: Promise<boolean> | undefined;

  /** @param reserved What is on record: after a start, all of it counts as used. */
  constructor(reserved: number, material: CountedMaterial, source: NumberSource) {
    this.material = material;
    this.#source = source;
    this.#onRecord = reserved;
  }

  /** Encryptions counted so far, never less than were done but for those with numbers of starts. */
  get used(): number {
    return this.#onRecord - (this.#end - this.#next) - (this.#later.to - this.#later.from);
  }

  /** The record says something else now. */
  follow(reserved: number): void {
    this.#onRecord = reserved;
  }

  /** Takes one number, or says with `false` that `reserve()` must be awaited first. */
  tryTake(): boolean {
    if (this.#next >= this.#end) {
      if (this.#later.to === this.#later.from) return this.#tryTakeOfStart();
      ({ from: this.#next, to: this.#end } = this.#later);
      this.#later = noNumbers;
    }
    this.#next++;
    const left = this.#end - this.#next;
    if (left <= this.#source.limits.reservationBlock >> 2) this.#lookAhead(left);
    return true;
  }

  #tryTakeOfStart(): boolean {
    if (this.#onRecord > this.#source.limits.maxEncryptionsPerBackingKey) return false;
    const left = this.material.hasStartNumbers ? this.#source.takeOfStart(this.material) : undefined;
    if (left === numbersPerStart >> 2) this.reserve().catch(() => undefined); // As below.
    return left !== undefined;
  }

  /** Sees to what comes after the block in use, of which so many numbers are left: a quarter at most. */
  #lookAhead(left: number): void {
    if (this.#onRecord < this.#source.limits.maxEncryptionsPerBackingKey) {
      // Whoever finds the block empty calls `reserve` and hears of the failure that is passed over here.
      if (left === this.#source.limits.reservationBlock >> 2) this.reserve().catch(() => undefined);
    } else if (!this.#isRunningOut) {
      this.#isRunningOut = true;
      this.#source.runOut(this.material);
    }
  }

  /**
   * Reserves the next block, once for all who wait.
   * @returns `false` when the limit is reached and the key must rotate.
   */
  reserve(): Promise<boolean> {
    this.#reserving ??= this.#reserve().finally(() => {
      this.#reserving = undefined;
    });
    return this.#reserving;
  }

  async #reserve(): Promise<boolean> {
    // One block ahead is enough.
    if (this.#later.to > this.#later.from) return true;
    const block = await this.#source.reserveBlock(this);
    if (block === undefined) return false;
    this.#later = block;
    return true;
  }
}
