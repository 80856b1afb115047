/**
 * When a process was started: what tells it from another one that has its pid later.
 *
 * Source: proc(5), `/proc/pid/stat`, `/proc/uptime`.
 */

import { readFileSync } from 'node:fs';

/** The kernel counts in hundredths of a second on every architecture that Node.js is released for (`USER_HZ`). */
const ticksPerSecond = 100;

/**
 * Field 22 of `/proc/pid/stat`: ticks since the machine was started. The second field may hold anything, in parentheses.
 * @throws Whatever reading throws, where the process is gone or may not be looked at.
 */
export function startTicksOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[19]);
  if (!Number.isInteger(ticks)) throw new TypeError(`/proc/${pid}/stat has no start time`);
  return ticks;
}

/** Was the process there before a connection of this age? A tick is allowed for rounding. */
export function isOlder(startTicks: number, connectionAgeMs: number): boolean {
  const uptimeSeconds = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);
  const processAgeMs = (uptimeSeconds - (startTicks - 1) / ticksPerSecond) * 1000;
  return processAgeMs >= connectionAgeMs;
}
