/**
 * How many TLS handshakes may begin: asked before one does, because each takes the daemon a thousand times what a refusal takes.
 *
 * Each payer has his own budget, so that one address takes a small part of the processor. All payers together have one as well:
 * whoever has many addresses takes that much and no more, and then others who connect anew over TLS wait as he does; connections that
 * are there, and all other listeners, notice nothing. Root and the daemon's own user are not counted.
 */

import type { HandshakeLimits } from '../../kms/budgets.ts';
import type { Logger } from '../../kms/logger.ts';
import { isOperator, type Payer } from '../../kms/payer.ts';
import { TokenBucket } from '../../kms/token-bucket.ts';

/** Payers whose budgets are full again are forgotten when there are so many: an address costs some 200 bytes. */
const sweepAt = 4096;
/** Whoever provokes a warning cannot fill the log with it. */
const warningPauseMs = 10_000;

export class HandshakeBudget {
  readonly #limits: HandshakeLimits;
  readonly #log: Logger;
  readonly #all: TokenBucket;
  readonly #perPayer = new Map<Payer, TokenBucket>();
  #sweepAt = sweepAt;
  #noWarningBeforeMs = 0;

  constructor(limits: HandshakeLimits, log: Logger) {
    this.#limits = limits;
    this.#log = log;
    this.#all = new TokenBucket(limits.atOnce, limits.perSecond);
  }

  /** May one more begin now? Counts it, if so. */
  take(payer: Payer): boolean {
    if (isOperator(payer)) return true;
    if (!this.#bucketOf(payer).take(1)) return this.#refuse(payer);
    return this.#all.take(1) || this.#refuse('all');
  }

  #refuse(whose: Payer | 'all'): false {
    if (performance.now() >= this.#noWarningBeforeMs) {
      this.#noWarningBeforeMs = performance.now() + warningPauseMs;
      this.#log.warn({ whose }, 'too many TLS handshakes: some connections are refused');
    }
    return false;
  }

  #bucketOf(payer: Payer): TokenBucket {
    const known = this.#perPayer.get(payer);
    if (known !== undefined) return known;
    if (this.#perPayer.size >= this.#sweepAt) this.#forget();
    const { perPayerAtOnce, perPayerPerSecond } = this.#limits;
    const bucket = new TokenBucket(perPayerAtOnce, perPayerPerSecond);
    this.#perPayer.set(payer, bucket);
    return bucket;
  }

  #forget(): void {
    for (const [payer, bucket] of this.#perPayer) if (bucket.isFull()) this.#perPayer.delete(payer);
    // Not for each new one where all are in use: there are no more than handshakes of one refill.
    this.#sweepAt = Math.max(sweepAt, 2 * this.#perPayer.size);
  }
}
