/**
 * The bounds of a key store, in one place, each with its reason. The operator's to change are `callDeadlineMs` and
 * `openDeadlineMs` alone (`deadlines` in the configuration); tests shorten the others.
 */

export interface KeyStoreLimits {
  /** How long a lane may be silent while it has calls, and how long a call may wait for a lane. */
  readonly callDeadlineMs: number;
  /**
   * The same for a lane that generates a key, and for calls that generate one or wait until one was generated: RSA takes
   * seconds in software, and a minute on a smart card.
   */
  readonly generationDeadlineMs: number;
  /** How long a host may take to load the library, log in, probe and enumerate the keys. */
  readonly openDeadlineMs: number;
  /** Calls that were begun and have not ended; more are refused as `busy`. Bounds the memory that callers can take. */
  readonly maxInFlight: number;
  /**
   * Calls that one lane has at once; the others wait in the key store, where they can be refused and are not lost with a
   * host. Two batches of 64: the host works on one while the API process deals with the other.
   */
  readonly maxInLane: number;
  /**
   * For how long the calls of one lane may be thought to keep it busy; one alone may take longer. What a lane has goes before
   * whatever comes, and two batches of 64 AES calls take a software token half as long.
   */
  readonly maxLaneMs: number;
  /** How long after the last host was lost calls wait for the next one, instead of failing at once. */
  readonly reconnectWaitMs: number;
  /** The pause before the second attempt in a row to start a host; it doubles. The first attempt is made at once. */
  readonly firstPauseMs: number;
  readonly maxPauseMs: number;
  /** A host that lived this long was all right: its end counts as the first in a row. */
  readonly stableAfterMs: number;
  /** The pause before a call is sent again that a busy device refused; it doubles. */
  readonly firstBusyPauseMs: number;
  /** With 10 ms for the first pause, the pauses before the last attempt are 315 to 630 ms together. */
  readonly maxBusyAttempts: number;
  /**
   * By how much a host's memory may grow after it was opened, before another one takes its place: of a million session objects that
   * SoftHSM2 does not forget. Some MB are what its code and buffers take when they are warm.
   */
  readonly maxHostGrowthMb: number;
  /** How often that is looked at: when 50,000 session objects are made a second, another 25 MB. */
  readonly growthCheckMs: number;
  /** How long `close()` waits for the calls in flight. */
  readonly closeDeadlineMs: number;
}

export const defaultLimits: KeyStoreLimits = {
  callDeadlineMs: 10_000,
  generationDeadlineMs: 120_000,
  openDeadlineMs: 60_000,
  maxInFlight: 4096,
  maxInLane: 128,
  maxLaneMs: 4,
  reconnectWaitMs: 5_000,
  firstPauseMs: 100,
  maxPauseMs: 30_000,
  stableAfterMs: 10_000,
  firstBusyPauseMs: 10,
  maxBusyAttempts: 7,
  maxHostGrowthMb: 256,
  growthCheckMs: 2_000,
  closeDeadlineMs: 5_000,
};

/** A pause that doubles with each attempt up to `maxMs`; half of it is random, so that many do not come back at once. */
export function pauseMs(attempt: number, firstMs: number, maxMs: number): number {
  const fullMs = Math.min(maxMs, firstMs * 2 ** attempt);
  return fullMs / 2 + Math.random() * (fullMs / 2);
}
