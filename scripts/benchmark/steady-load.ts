/**
 * What a daemon does under a load that does not wait for it: requests come at 70 % of the most that it gave, whatever the answers
 * do (open loop). And what its memory is before the first request and after all of a run.
 */

import { plainEncrypt } from './cases.ts';
import type { Measurement } from './measurement.ts';
import { residentMb } from './measurement.ts';
import { renderTable, round } from './results.ts';
import type { DaemonTarget } from './targets.ts';
import { progress } from './warming.ts';

export const openLoopName = 'open loop';
const connections = 128;
const shareOfPeak = 0.7;

/** One row of `--json`. */
export interface OpenLoopRow {
  readonly connections: number;
  /** With as many connections, each of which sends when it was answered. */
  readonly peakPerSecond: number;
  readonly sentPerSecond: number;
  readonly answeredPerSecond: number;
  readonly p50Micros: number;
  readonly p99Micros: number;
  readonly p999Micros: number;
  readonly maxMicros: number;
}

export async function benchOpenLoop(daemon: DaemonTarget, quick: boolean): Promise<OpenLoopRow> {
  progress('open loop');
  const [peakMs, measureMs] = quick ? [50, 200] : [3000, 10_000];
  const peak = await daemon.measure(plainEncrypt, connections, { warmupMs: peakMs / 4, measureMs: peakMs });
  const ratePerSecond = Math.max(1, Math.round((peak.count / peak.seconds) * shareOfPeak));
  const timing = { warmupMs: measureMs / 10, measureMs, ratePerSecond };
  const measured = await daemon.measure(plainEncrypt, connections, timing);
  progress('');
  return {
    connections,
    peakPerSecond: round(peak.count / peak.seconds, 0),
    sentPerSecond: ratePerSecond,
    answeredPerSecond: round(measured.count / measured.seconds, 0),
    p50Micros: round(measured.p50Micros, 1),
    p99Micros: round(measured.p99Micros, 1),
    p999Micros: round(measured.p999Micros, 1),
    maxMicros: round(measured.maxMicros, 1),
  };
}

export function renderOpenLoop(row: OpenLoopRow): string {
  const head = ['connections', 'peak/s', 'sent/s', 'answered/s', 'p50 µs', 'p99 µs', 'p99.9 µs', 'largest µs'];
  const cells = [
    row.connections,
    row.peakPerSecond,
    row.sentPerSecond,
    row.answeredPerSecond,
    row.p50Micros.toFixed(0),
    row.p99Micros.toFixed(0),
    row.p999Micros.toFixed(0),
    row.maxMicros.toFixed(0),
  ].map(String);
  return `Open loop at ${shareOfPeak * 100} % of the peak, Encrypt of 64 bytes\n${renderTable(head, [cells], new Set())}`;
}

/** What `--json` says of memory, in MB of the resident set of the API process. */
export interface MemoryUse {
  readonly beforeMb: number;
  readonly afterMb: number;
  /** That were answered and counted in between; some more were not counted. */
  readonly requests: number;
}

/** Watches the memory of a daemon, and counts what it is asked for, from now on. */
export class MemoryWatch {
  readonly #pid: number;
  readonly #beforeMb: number;
  #requests = 0;

  constructor({ pid }: DaemonTarget) {
    this.#pid = pid;
    this.#beforeMb = residentMb(pid);
  }

  counted(measurement: Measurement): Measurement {
    this.#requests += measurement.count;
    return measurement;
  }

  end(): MemoryUse {
    return {
      beforeMb: round(this.#beforeMb, 1),
      afterMb: round(residentMb(this.#pid), 1),
      requests: this.#requests,
    };
  }
}

export function renderMemory({ beforeMb, afterMb, requests }: MemoryUse): string {
  return (
    `Memory of the API process: ${beforeMb.toFixed(0)} MB before the first request, ` +
    `${afterMb.toFixed(0)} MB after ${requests.toLocaleString('en')}`
  );
}
