import { readFileSync } from 'node:fs';

/** Is there a process with this number? (A zombie of ours counts: nobody has waited for it yet.) */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // ESRCH: there is none. Any other error is not possible for a child of ours.
  }
}

/** Does it run? For processes that are nobody's child any more: process 1 takes its time to wait for those that ended. */
export function isRunning(pid: number): boolean {
  try {
    // The state follows the name, which is in parentheses.
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false; // There is none.
  }
}
