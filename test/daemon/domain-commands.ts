/** The commands of `drawbridge domain`, in processes of their own. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export type Answer = Readonly<Record<string, unknown>>;

/** A command that prints JSON. */
export async function drawbridge(...args: readonly string[]): Promise<Answer> {
  const { stdout } = await promisify(execFile)(process.execPath, [main, 'domain', ...args]);
  return JSON.parse(stdout);
}

/** What a command says that comes next. */
export async function nextOf(...args: readonly string[]): Promise<string> {
  const { stderr } = await promisify(execFile)(process.execPath, [main, 'domain', ...args]);
  return stderr.trim();
}
