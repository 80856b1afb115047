/**
 * Which wrapped keys have calls under way. A wrapped key goes along with its calls, and a lane that gets one late would unwrap it once
 * more; so whoever ends the use of a key waits here before he has the lanes forget it.
 */

import type { BackingKeyId } from '../kms/names.ts';

interface Use {
  calls: number;
  /** Whoever waits for there being none. */
  readonly waiting: (() => void)[];
}

export class WrappedKeysInUse {
  readonly #uses = new Map<BackingKeyId, Use>();

  /** @returns The same promise. */
  follow<Result>(backingKeyId: BackingKeyId, call: Promise<Result>): Promise<Result> {
    const use = this.#uses.get(backingKeyId) ?? { calls: 0, waiting: [] };
    this.#uses.set(backingKeyId, use);
    use.calls++;
    const ended = (): void => this.#ended(backingKeyId);
    call.then(ended, ended);
    return call;
  }

  /** Resolves when no call is under way with this key. */
  idle(backingKeyId: BackingKeyId): Promise<void> {
    const use = this.#uses.get(backingKeyId);
    return use === undefined ? Promise.resolve() : new Promise((resolve) => use.waiting.push(resolve));
  }

  #ended(backingKeyId: BackingKeyId): void {
    const use = this.#uses.get(backingKeyId);
    if (use === undefined || --use.calls > 0) return;
    this.#uses.delete(backingKeyId);
    for (const resolve of use.waiting) resolve();
  }
}
