/** The processes that a process has started: of a daemon, its HSM hosts. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';

/** Their numbers, whichever thread started them. */
export function childrenOf(pid: number): readonly number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1').split(' ').filter(Boolean).map(Number),
  );
}

/**
 * Waits for processes that lost their parent, which end by themselves; one that a test has made to hang while it opened its token
 * would take a minute, and is killed.
 */
export async function endOrphans(pids: readonly number[]): Promise<void> {
  const isThere = (pid: number): boolean => existsSync(`/proc/${pid}`) && !/\) [ZX] /.test(statusOf(pid));
  for (let waited = 0; waited < 100 && pids.some(isThere); waited++) await setTimeout(50);
  for (const pid of pids.filter(isThere)) process.kill(pid, 'SIGKILL');
}

/** Its line in `/proc`. */
function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return ') X '; // It ended between two looks: dead, as the kernel would say.
  }
}
