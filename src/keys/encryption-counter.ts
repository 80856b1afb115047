/**
 * How often a backing key has encrypted, and the promise that it never does so too often.
 *
 * AES-GCM with random 96-bit IVs is sound for 2^32 encryptions under one key (NIST SP 800-38D, 8.3). INVARIANT: the
 * store's `reservedEncryptions` is at least the number of encryptions done, and never above the limit. Numbers are
 * reserved in blocks before they are used, so the hot path only adds one; whatever a crash leaves unused of a block
 * stays used up. The next block is reserved before the last one is empty, so that nobody waits for the disk.
 *
 * An encryption that the key store repeats after the loss of its host uses a second IV. One host's loss repeats at most
 * the calls in flight (4,096), and the limit leaves room for 256 such losses in the life of a backing key.
 */

/** 2^32 less what repeated calls may have used on top: 4,096 calls in flight, lost 256 times, are 2^20. */
export const maxEncryptionsPerBackingKey = 2 ** 32 - 2 ** 20;
/** At 20,000 encryptions a second one write in three seconds; 65,520 starts of the daemon before a key rotates early. */
const reservationBlock = 2 ** 16;

export interface EncryptionLimits {
  readonly maxEncryptionsPerBackingKey: number;
  readonly reservationBlock: number;
}

export const defaultEncryptionLimits: EncryptionLimits = { maxEncryptionsPerBackingKey, reservationBlock };

export class EncryptionCounter {
  readonly #limits: EncryptionLimits;
  /** Writes the new `reservedEncryptions` to the store; resolves when it is on disk. */
  readonly #persist: (reservedEncryptions: number) => Promise<void>;
  #reserved: number;
  #used: number;
  #reserving: Promise<void> | undefined;

  /** @param reserved What the store has on record: after a start, all of it counts as used. */
  constructor(reserved: number, persist: (reservedEncryptions: number) => Promise<void>, limits: EncryptionLimits) {
    this.#limits = limits;
    this.#persist = persist;
    this.#reserved = reserved;
    this.#used = reserved;
  }

  /** Encryptions counted so far, never less than were done. */
  get used(): number {
    return this.#used;
  }

  /** Takes one number, or says with `false` that `reserve()` must be awaited first. */
  tryTake(): boolean {
    if (this.#used >= this.#reserved) return false;
    this.#used++;
    const left = this.#reserved - this.#used;
    if (left === this.#limits.reservationBlock >> 2 && this.#reserved < this.#limits.maxEncryptionsPerBackingKey) {
      // Whoever finds the block empty calls `reserve` and hears of the failure that is passed over here.
      this.reserve().catch(() => undefined);
    }
    return true;
  }

  /**
   * Reserves the next block, once for all who wait.
   * @returns `false` when the limit is reached and the key must rotate.
   */
  async reserve(): Promise<boolean> {
    if (this.#reserving === undefined) {
      const next = Math.min(this.#reserved + this.#limits.reservationBlock, this.#limits.maxEncryptionsPerBackingKey);
      if (next <= this.#reserved) return false;
      this.#reserving = this.#persist(next)
        .then(() => {
          this.#reserved = next;
        })
        .finally(() => {
          this.#reserving = undefined;
        });
    }
    await this.#reserving;
    return true;
  }
}
