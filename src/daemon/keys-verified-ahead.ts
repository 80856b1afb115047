/**
 * Where there are too many KMS keys to have all of them in memory, has the HSM verify those that nobody has asked for yet, so that
 * whoever asks for one waits neither for the disk nor for the HSM (`store/verified-keys.ts`).
 *
 * Others come first (`kms/others-first.ts`): what is done at once takes the HSM some ten milliseconds, whatever it is. Once is enough: what is
 * written later, and what is read because somebody asks for it, is kept without it.
 */

import type { Logger } from '../kms/logger.ts';
import { othersFirst, rest } from '../kms/others-first.ts';
import type { KeysVerified, RecordSource } from '../store/record-source.ts';

export interface KeysVerifiedAheadParts {
  readonly source: Pick<RecordSource, 'verifyKeys' | 'keysAtHand'>;
  readonly log: Logger;
  /** After it the HSM is asked again, where it could not say anything. */
  readonly failedDelayMs?: number;
}

export interface AtHand {
  readonly keys: number;
  readonly isDone: boolean;
}

/** Three records of each go to the HSM in one call. */
const mostAtOnce = 40;
const partMs = 10;
const defaultFailedDelayMs = 10_000;

export class KeysVerifiedAhead {
  readonly #parts: KeysVerifiedAheadParts;
  readonly #ended = new AbortController();
  #isDone = false;

  /** Begins. */
  constructor(parts: KeysVerifiedAheadParts) {
    this.#parts = parts;
    void this.#verifyAll();
  }

  /** How many keys are at hand, and whether that is all of them, or as many as there is room for. */
  status(): AtHand {
    return { keys: this.#parts.source.keysAtHand, isDone: this.#isDone };
  }

  /** Nothing is begun any more. What the HSM is at is not waited for: it changes nothing but what is in memory. */
  end(): void {
    this.#ended.abort();
  }

  async #verifyAll(): Promise<void> {
    let [next, verified]: [bigint | null, number] = [0n, 0];
    let limit = 1;
    while (next !== null && !this.#ended.signal.aborted) {
      const beganAtMs = performance.now();
      const done = await this.#verifySome(next, limit);
      const tookMs = performance.now() - beganAtMs;
      if (done === undefined) {
        await rest(this.#parts.failedDelayMs ?? defaultFailedDelayMs, this.#ended.signal);
        continue;
      }
      next = done.next;
      verified += done.verified;
      if (done.verified === limit) limit = atOnce(limit, tookMs);
      await othersFirst(tookMs, this.#ended.signal);
    }
    this.#isDone = next === null;
    if (this.#isDone)
      this.#parts.log.info(
        { verified },
        'keys that are not in memory were verified ahead, as many as there is room for',
      );
  }

  async #verifySome(from: bigint, limit: number): Promise<KeysVerified | undefined> {
    try {
      return await this.#parts.source.verifyKeys(from, limit);
    } catch (error) {
      if (!this.#ended.signal.aborted)
        this.#parts.log.debug({ err: error }, 'keys cannot be verified before they are asked for; tried again');
      return undefined;
    }
  }
}

/** As many as the last part and its time say. */
function atOnce(limit: number, tookMs: number): number {
  return Math.max(1, Math.min(mostAtOnce, 2 * limit, Math.floor((limit * partMs) / Math.max(tookMs, 0.1))));
}
