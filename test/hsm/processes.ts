import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { TestToken } from '../support/tokens.ts';

const clientProgram = fileURLToPath(new URL('./client-process.ts', import.meta.url));

/** A process of its own that opens the token with two hosts of two lanes, and then sends their pids. */
export function startClientProcess(token: TestToken): ChildProcess {
  const client = spawn(process.execPath, [clientProgram], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  onTestFinished(() => {
    client.kill('SIGKILL');
  });
  const { settings: _settings, remove: _remove, ...facts } = token;
  client.send({ ...facts, settings: token.settings(2) });
  return client;
}

/** The numbers of its children. */
export function childrenOf(pid: number): readonly number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);
}

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
