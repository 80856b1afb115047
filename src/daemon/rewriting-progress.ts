/**
 * Tells how far a start is that writes the records of a former format anew: with a million keys that takes minutes.
 *
 * In the log a line every few seconds, since no more than some hundred of a kind are written a minute (`summed-log.ts`); to whoever asks
 * for the status how many it is now.
 */

import type { Logger } from '../kms/logger.ts';
import type { Progress } from '../store/metadata-store.ts';

const loggedEveryMs = 2_000;

/**
 * @param tell Gets what stands in the status.
 * @param nowMs By a clock that nobody sets.
 */
export function rewritingProgress(
  log: Pick<Logger, 'info'>,
  tell: (what: string) => void,
  nowMs: () => number = () => performance.now(),
): Progress {
  let loggedAtMs = Number.NEGATIVE_INFINITY;
  return (written, total) => {
    tell(`records are written anew in the format of this version: ${written} of ${total}`);
    const now = nowMs();
    if (written < total && now - loggedAtMs < loggedEveryMs) return;
    loggedAtMs = now;
    log.info({ written, total }, 'records are written anew');
  };
}
