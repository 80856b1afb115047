/**
 * When something is due, as a pure rule: for what cannot be taken back, early is what may never happen.
 *
 * While the daemon runs, both clocks must say so. When work is first seen, the time that is left by the wall clock is put on
 * the boot-time clock; from then on a wall clock that is set forward brings nothing nearer, and one that is set back loses
 * nothing: the work is done when both agree. Where the wall clock alone says so, for instance because it was wrong when the
 * work was first seen, the work waits, and an operator can confirm it.
 *
 * Over a stop nobody watched the wall clock. What it says to be due at first sight may be so because it was set forward; so
 * this waits for another 24 hours of running time, over restarts, which is the time that an operator has to notice; or until
 * he confirms it. A wall clock that then says otherwise ends the wait: what is not due is seen anew.
 */

import type { Reading } from './clocks.ts';

const hourMs = 60 * 60 * 1000;
/** How long the daemon has to run before what came due over a stop is done. */
export const waitAfterStopMs = 24 * hourMs;

/** How work looked when it was first seen by this process, or seen anew. */
export interface Sight {
  readonly dueAtMs: number;
  /** When it is due by the boot-time clock. */
  readonly dueBootMs: number;
  /** The wall clock said that it was due already. */
  readonly wasDue: boolean;
  /** By the boot-time clock. */
  readonly seenBootMs: number;
}

export function sightOf(dueAtMs: number, { wallMs, bootMs }: Reading): Sight {
  const dueBootMs = bootMs + Math.max(0, dueAtMs - wallMs);
  return { dueAtMs, dueBootMs, wasDue: dueAtMs <= wallMs, seenBootMs: bootMs };
}

/** What is on record of a wait, or will be. */
export interface Wait {
  /** What the daemon's running time, over all its restarts, was when the wait began. */
  readonly ranMs: number;
  readonly isConfirmed: boolean;
}

export type Verdict =
  | { readonly is: 'due' }
  /** Its date has not come. */
  | { readonly is: 'scheduled' }
  /** The wall clock alone says that its date has come; the other will in so long. */
  | { readonly is: 'doubtful'; readonly leftMs: number }
  /** It came due over a stop; so much running time is left. */
  | { readonly is: 'waiting'; readonly leftMs: number };

/**
 * @param ranMs The daemon's running time, over all its restarts.
 * @param wait `undefined`: none is on record, which is as if it had begun when the work was first seen.
 */
export function judge(sight: Sight, now: Reading, ranMs: number, wait: Wait | undefined): Verdict {
  if (now.wallMs < sight.dueAtMs) return { is: 'scheduled' };
  if (wait?.isConfirmed === true) return { is: 'due' };
  if (sight.wasDue) {
    const waitedMs = wait === undefined ? now.bootMs - sight.seenBootMs : ranMs - wait.ranMs;
    const leftMs = waitAfterStopMs - waitedMs;
    return leftMs <= 0 ? { is: 'due' } : { is: 'waiting', leftMs };
  }
  const leftMs = sight.dueBootMs - now.bootMs;
  return leftMs <= 0 ? { is: 'due' } : { is: 'doubtful', leftMs };
}

/** Has to be seen anew: it was due when it was first seen, and by a clock that was set back since it is not. */
export function isOutdated(sight: Sight, { wallMs }: Reading): boolean {
  return sight.wasDue && wallMs < sight.dueAtMs;
}

const firstPauseMs = 10_000;
const longestPauseMs = hourMs;

/** How long to wait before something that failed so many times is tried again. */
export function pauseMs(failures: number): number {
  return Math.min(firstPauseMs * 2 ** Math.min(failures - 1, 30), longestPauseMs);
}
