/**
 * The two clocks of upkeep, as one value, so that tests can set both.
 *
 * The wall clock says which day it is, and anybody's mistake can set it anywhere. The boot-time clock (CLOCK_BOOTTIME) counts
 * since the machine was started, also while it sleeps; nobody can set it, and it says nothing about dates.
 */

import { uptime } from 'node:os';

/** Both clocks at one moment. */
export interface Reading {
  /** Milliseconds since the epoch. */
  readonly wallMs: number;
  /** Milliseconds since the machine was started. */
  readonly bootMs: number;
}

export interface Clocks {
  now(): Reading;
  /** Calls `run` after about so long, at most a day. Gives what takes it back. It keeps no process running. */
  after(delayMs: number, run: () => void): () => void;
}

/** Longer ones are none of upkeep's, and a timer of Node.js can be no longer than 2³¹ - 1 ms. */
const maxDelayMs = 24 * 60 * 60 * 1000;

/** Those of this machine. `/proc/uptime`, which Node.js reads, is the boot-time clock, rounded down to 10 ms. */
export const machineClocks: Clocks = {
  now: () => ({ wallMs: Date.now(), bootMs: Math.floor(uptime() * 1000) }),
  after(delayMs, run) {
    const timer = setTimeout(run, Math.min(delayMs, maxDelayMs)).unref();
    return () => clearTimeout(timer);
  },
};
