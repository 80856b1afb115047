/** What a bench does before anything counts, and the line that says how far it is. */

import type { Case } from './cases.ts';
import type { Target } from './targets.ts';

/** After so many requests the CPU that one takes falls no further (measured: a fifth of that of the first 2,000). */
const warmRequests = 20_000;

/** What all operations share is compiled after the first case; the others only need to be met. */
export async function warmUp(daemon: Target, what: Case, atMostMs: number): Promise<void> {
  const until = performance.now() + atMostMs;
  for (let requests = 0; requests < warmRequests && performance.now() < until; ) {
    progress('warming up');
    requests += (await daemon.measure(what, 16, { warmupMs: 0, measureMs: Math.min(500, atMostMs) })).count;
  }
}

const linesEveryMs = 10_000;
let lastLineAtMs = performance.now();

/** One line on a terminal that the next call overwrites; elsewhere a line every ten seconds. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
  else if (text !== '' && performance.now() - lastLineAtMs >= linesEveryMs) {
    lastLineAtMs = performance.now();
    process.stderr.write(`${text}\n`);
  }
}
