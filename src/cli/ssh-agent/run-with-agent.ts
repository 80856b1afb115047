/** Until when an agent runs: as long as a command that it was started for, or until somebody stops it. */

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { UsageError } from '../terminal/cli-error.ts';
import { note } from '../terminal/output.ts';

const stops = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
/** What shells answer for a command that is not there, or cannot be run. */
const [notFound, notRunnable] = [127, 126];

export interface AgentPlace {
  readonly path: string;
  /** Removes what was made for it. */
  remove(): Promise<void>;
}

/**
 * @param asked By `--listen`.
 * @param isForCommand It is for one command: then a place of its own will do.
 */
export async function agentPlace(asked: string | undefined, isForCommand: boolean): Promise<AgentPlace> {
  const remove = async (): Promise<void> => undefined;
  if (asked !== undefined) return { path: asked, remove };
  if (isForCommand) {
    const folder = await mkdtemp(join(tmpdir(), 'drawbridge-ssh-agent-'));
    return { path: join(folder, 'ssh-agent.sock'), remove: () => rm(folder, { recursive: true, force: true }) };
  }
  const { XDG_RUNTIME_DIR: runtime } = process.env;
  if (runtime === undefined || !isAbsolute(runtime)) {
    throw new UsageError(
      'XDG_RUNTIME_DIR is not set: say with --listen where the agent is to be, or give a command after --',
    );
  }
  return { path: join(runtime, 'drawbridge', 'ssh-agent.sock'), remove };
}

/** Resolves when a signal asks the agent to end. */
export function stopped(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of stops) process.once(signal, () => resolve());
  });
}

/**
 * Runs a command with the agent in its environment, at the same terminal.
 * @returns Its exit code; of one that a signal ended, the shell's number for that.
 */
export function runCommand([program = '', ...args]: readonly string[], socketPath: string): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: 'inherit', env: { ...process.env, SSH_AUTH_SOCK: socketPath } });
    // Ctrl-C reaches both at a terminal, and is the command's to answer; the agent ends after it.
    for (const signal of stops) process.on(signal, () => signal === 'SIGINT' || child.kill(signal));
    child.once('error', (error: NodeJS.ErrnoException) => {
      const isMissing = error.code === 'ENOENT';
      note(`drawbridge: cannot run \`${program}\`: ${isMissing ? 'there is no such program' : error.message}`);
      resolve(isMissing ? notFound : notRunnable);
    });
    child.once('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGTERM']));
  });
}
