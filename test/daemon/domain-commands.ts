/** The commands of `drawbridge domain`, in processes of their own, and the members that they are about. */

import { type ChildProcess, execFile } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { present } from '../end-to-end/support/daemon.ts';
import { program } from '../support/program.ts';
import type { TestToken } from '../support/tokens.ts';

export type Answer = Readonly<Record<string, unknown>>;

/** A command that prints JSON. */
export async function drawbridge(...args: readonly string[]): Promise<Answer> {
  const { stdout } = await promisify(execFile)(process.execPath, [program, 'domain', ...args]);
  return JSON.parse(stdout);
}

/** What a command says that fails. */
export async function refusedCommand(...args: readonly string[]): Promise<string> {
  const error = await nextOf(...args).then(
    () => undefined,
    (refused: { readonly stderr: string }) => refused.stderr,
  );
  return present(error).trim();
}

/** What a command says that comes next. */
export async function nextOf(...args: readonly string[]): Promise<string> {
  const { stderr } = await promisify(execFile)(process.execPath, [program, 'domain', ...args]);
  return stderr.trim();
}

export function begun(...args: readonly string[]): ChildProcess {
  return execFile(process.execPath, [program, 'domain', ...args]);
}

/** To people, until it has ended. */
export async function whatItSays(child: ChildProcess): Promise<string> {
  const [stderr] = await Promise.all([text(present(child.stderr)), once(child, 'close')]);
  return stderr;
}

/** A member as it stands in a configuration, with one host. Its PIN is written into the folder. */
export function memberSettings(folder: string, name: string, token: TestToken) {
  const pinFile = join(folder, `${name}.pin`);
  writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
  const { profile, library, label, environment, libraryParameters } = token;
  const parameters = libraryParameters === null ? {} : { libraryParameters };
  const place = { name, profile, library, token: { label }, pin: { file: pinFile }, environment, ...parameters };
  return { ...place, hosts: 1, lanes: 1 };
}
