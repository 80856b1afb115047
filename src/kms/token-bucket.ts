/**
 * A budget that refills: up to `capacity` at once, and `perSecond` in the long run.
 *
 * Times are the monotonic clock's, in milliseconds; nothing runs while nobody asks.
 */

export class TokenBucket {
  readonly #capacity: number;
  readonly #perMs: number;
  #tokens: number;
  #atMs: number;

  /** Full. */
  constructor(capacity: number, perSecond: number) {
    this.#capacity = capacity;
    this.#perMs = perSecond / 1_000;
    this.#tokens = capacity;
    this.#atMs = performance.now();
  }

  has(tokens: number): boolean {
    this.#refill();
    return this.#tokens >= tokens;
  }

  /** @returns Whether there were so many; else none is taken. */
  take(tokens: number): boolean {
    if (!this.has(tokens)) return false;
    this.#tokens -= tokens;
    return true;
  }

  /** Takes so many and whatever is there when it is less, down to a debt of as many as fit in it. */
  charge(tokens: number): void {
    this.#refill();
    this.#tokens = Math.max(-this.#capacity, this.#tokens - tokens);
  }

  give(tokens: number): void {
    this.#tokens = Math.min(this.#capacity, this.#tokens + tokens);
  }

  isFull(): boolean {
    return this.has(this.#capacity);
  }

  #refill(): void {
    const nowMs = performance.now();
    this.#tokens = Math.min(this.#capacity, this.#tokens + (nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
  }
}
