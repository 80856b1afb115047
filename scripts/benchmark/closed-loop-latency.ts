/**
 * What a request takes from end to end while each connection sends its next one when it was answered (closed loop): of one program
 * that is alone, and how far the slowest of many are behind the usual one.
 */

import { plainEncrypt } from './cases.ts';
import { median, renderTable, round } from './results.ts';
import type { DaemonTarget } from './targets.ts';
import { progress, warmUp } from './warming.ts';

export const closedLoopName = 'closed loop';

/** What was promised: of one connection a p50 in microseconds, of many a p99 in times of their p50; and what each is meant to be. */
const promises = [
  { connections: 1, maxP50Micros: 250, maxTailRatio: null, aim: 180 },
  { connections: 64, maxP50Micros: null, maxTailRatio: 3, aim: 2 },
] as const;

/** One row of `--json`: medians over the windows. */
export interface ClosedLoopRow {
  readonly connections: number;
  readonly requestsPerSecond: number;
  readonly p50Micros: number;
  readonly p99Micros: number;
  readonly p999Micros: number;
  /** p99 over p50, of each window. */
  readonly tailRatio: number;
  readonly maxP50Micros: number | null;
  readonly maxTailRatio: number | null;
  /** Of the one of these two that is a number: what it is meant to be. */
  readonly aim: number;
}

/** Many windows, in turn: what else the machine does is in some of them, and the median is of one without it. */
export async function benchClosedLoop(daemon: DaemonTarget, quick: boolean): Promise<readonly ClosedLoopRow[]> {
  const [windows, measureMs, warmUpMs] = quick ? [1, 20, 20] : [9, 500, 10_000];
  await warmUp(daemon, plainEncrypt, warmUpMs);
  const measured = promises.map(() => [] as { rate: number; p50: number; p99: number; p999: number }[]);
  for (let window = 0; window < windows; window++) {
    progress(`closed loop, ${window + 1} of ${windows}`);
    for (const [index, { connections }] of promises.entries()) {
      const result = await daemon.measure(plainEncrypt, connections, { warmupMs: measureMs / 5, measureMs });
      const { count, seconds, p50Micros: p50, p99Micros: p99, p999Micros: p999 } = result;
      measured[index]?.push({ rate: count / seconds, p50, p99, p999 });
    }
  }
  progress('');
  return promises.map((promise, index) => {
    const all = measured[index] ?? [];
    return {
      ...promise,
      requestsPerSecond: round(median(all.map(({ rate }) => rate)), 0),
      p50Micros: round(median(all.map(({ p50 }) => p50)), 1),
      p99Micros: round(median(all.map(({ p99 }) => p99)), 1),
      p999Micros: round(median(all.map(({ p999 }) => p999)), 1),
      tailRatio: round(median(all.map(({ p50, p99 }) => p99 / Math.max(p50, 1))), 2),
    };
  });
}

export function renderClosedLoop(rows: readonly ClosedLoopRow[]): string {
  const head = ['connections', 'requests/s', 'p50 µs', 'p99 µs', 'p99.9 µs', 'p99/p50', 'promised'];
  const cells = rows.map((row) => [
    String(row.connections),
    row.requestsPerSecond.toLocaleString('en'),
    row.p50Micros.toFixed(0),
    row.p99Micros.toFixed(0),
    row.p999Micros.toFixed(0),
    row.tailRatio.toFixed(2),
    row.maxP50Micros === null
      ? `p99/p50 at most ${row.maxTailRatio}, aim: ${row.aim}`
      : `p50 at most ${row.maxP50Micros} µs, aim: ${row.aim}`,
  ]);
  return `Closed loop, Encrypt of 64 bytes\n${renderTable(head, cells, new Set([head.length - 1]))}`;
}
