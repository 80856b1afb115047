/** One measurement, and the counters of CPU time that go with it. */

import { readdirSync, readFileSync } from 'node:fs';

export interface Timing {
  readonly warmupMs: number;
  readonly measureMs: number;
  /** Requests that are sent in a second, whatever the answers do; absent: each connection sends when it was answered. */
  readonly ratePerSecond?: number;
}

/** What `direct.c`, `load.c` and `host-loop.ts` print. */
export interface LoopResult {
  readonly count: number;
  readonly seconds: number;
  readonly p50Micros: number;
  readonly p99Micros: number;
  readonly p999Micros: number;
  readonly maxMicros: number;
}

export interface Measurement extends LoopResult {
  /** CPU of the process that holds the API, or drives the pipe in its place; `null` where there is none. */
  readonly apiCpuMicros: number | null;
  /** How much of that was spent in the kernel, from 0 to 1; `null` where nobody looked. The kernel counts it in steps of 10 ms. */
  readonly apiSystemShare: number | null;
  /** CPU of the processes that call the vendor's library. */
  readonly hostCpuMicros: number;
}

/**
 * CPU time that the processes have used so far, user and system, in microseconds: the scheduler's own count of each
 * thread, which is in nanoseconds (`/proc/PID/stat` counts in steps of 10 ms).
 */
export function cpuMicros(pids: readonly number[]): number {
  let nanos = 0;
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      try {
        nanos += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
      } catch {
        // The thread ended between the two calls; short-lived ones are few and small.
      }
    }
  }
  return nanos / 1000;
}

/** CPU time that one thread has used so far, as the kernel counts it: in steps of 10 ms. */
export interface ThreadTimes {
  readonly id: string;
  /** The one that runs JavaScript. */
  readonly isMain: boolean;
  readonly userMicros: number;
  readonly systemMicros: number;
}

/** Of all threads that there are now. */
export function threadTimes(pid: number): readonly ThreadTimes[] {
  return readdirSync(`/proc/${pid}/task`).map((id) => {
    const stat = readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8');
    // Behind the name in parentheses, which may hold anything: state, ppid, … utime and stime are the 14th and 15th of all.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const micros = (field: number): number => Number(fields[field - 3]) * 10_000;
    return { id, isMain: id === String(pid), userMicros: micros(14), systemMicros: micros(15) };
  });
}

/** Of the CPU that a process used since: how much of it in the kernel, from 0 to 1. */
export function systemShare(pid: number, before: readonly ThreadTimes[]): number {
  const now = threadTimes(pid);
  const used = (of: (times: ThreadTimes) => number): number =>
    now.reduce((all, times) => all + of(times), 0) - before.reduce((all, times) => all + of(times), 0);
  const system = used(({ systemMicros }) => systemMicros);
  return Math.max(0, system) / Math.max(1, system + used(({ userMicros }) => userMicros));
}

/** The memory that a process has of its own or shares, in MB. */
export function residentMb(pid: number): number {
  return Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** The processes that a process has started and that are there now: of a daemon, its HSM hosts. */
export function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && parentOf(name) === pid)
    .map(Number);
}

function parentOf(pid: string): number | undefined {
  try {
    return Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return undefined; // It ended meanwhile.
  }
}

/** Reads CPU counters at two moments and divides what was used between them by the number of requests. */
export class CpuWindow {
  readonly #pids: readonly (readonly number[])[];
  readonly #atStart: readonly number[];

  /** Starts now. */
  constructor(...pids: readonly (readonly number[])[]) {
    this.#pids = pids;
    this.#atStart = pids.map(cpuMicros);
  }

  /** CPU microseconds per request, in the order of the constructor's lists. */
  end(count: number): number[] {
    return this.#pids.map((pids, index) => (cpuMicros(pids) - (this.#atStart[index] ?? 0)) / Math.max(count, 1));
  }
}
