/** Runs a script of `scripts/` as a user would, with this run's temporary folder and nothing on its standard input. */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export function runScript(
  name: string,
  args: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {},
): Promise<Ended> {
  return run(`${root}scripts/${name}`, args, options);
}

/** Resolves however it ends; only a program that cannot be started is an error. */
export function run(
  program: string,
  args: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = execFile(program, args, { maxBuffer: 64 * 1024 * 1024, ...options }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') reject(error);
      else resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
    child.stdin?.end();
  });
}

/** Sends a script a signal as soon as there is a file that matches the pattern `at`; resolves to its exit code and signal. */
export async function endEarly(
  name: string,
  how: {
    readonly args: readonly string[];
    readonly tmpdir: string;
    readonly signal: NodeJS.Signals;
    readonly at: string;
  },
): Promise<unknown[]> {
  const env = { ...process.env, TMPDIR: how.tmpdir };
  const child = spawn(`${root}scripts/${name}`, how.args, { env, stdio: 'ignore' });
  const exit = once(child, 'exit');
  while (globSync(how.at).length === 0 && child.exitCode === null) await sleep(50);
  child.kill(how.signal);
  return exit;
}

/** The processes in whose command lines a text stands, as paths in `/proc`. */
export function processesOf(text: string): string[] {
  return globSync('/proc/[0-9]*/cmdline').filter((path) => {
    try {
      return readFileSync(path, 'utf8').includes(text);
    } catch {
      return false; // It ended meanwhile.
    }
  });
}
