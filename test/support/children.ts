/** The processes that a process has started: of a daemon, its HSM hosts. */

import { readdirSync, readFileSync } from 'node:fs';

/** Their numbers, whichever thread started them. */
export function childrenOf(pid: number): readonly number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1').split(' ').filter(Boolean).map(Number),
  );
}
