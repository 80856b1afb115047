/**
 * Work that can wait, done in parts while this process serves others: between two parts it rests for a quarter of what the last one took,
 * or for four times as long where there was something else to do meanwhile.
 */

import { setTimeout as wait } from 'node:timers/promises';

/** Of the time in which nothing of it is done, what others may use for it to be said that they have nothing to do. */
const idleBelow = 0.25;
/** However long a part took: another process may have had the processor, or the HSM was away. */
const longestMs = 1000;

/**
 * Resolves when it is time for the next part.
 * @param tookMs What the last one took.
 * @param signal Ends the rest.
 */
export async function othersFirst(tookMs: number, signal: AbortSignal): Promise<void> {
  const before = performance.eventLoopUtilization();
  await rest(Math.min(tookMs / 4, longestMs), signal);
  const othersUsed = performance.eventLoopUtilization(before).utilization;
  if (othersUsed > idleBelow) await rest(Math.min(tookMs * 4, longestMs), signal);
}

/** Resolves after so long, or when the signal ends it. Keeps no process running. */
export async function rest(ms: number, signal: AbortSignal): Promise<void> {
  await wait(ms, undefined, { ref: false, signal }).catch(() => undefined);
}
