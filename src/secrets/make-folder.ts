/**
 * Makes a folder and those above it that are missing.
 *
 * Node's own `mkdir` with `recursive` never ends where a folder exists and the system says ENOENT all the same for one to be
 * made in it, as in `/proc` and in a folder that was removed: it makes the parent again, and again (measured with Node.js 24).
 * Here every folder is tried once.
 */

import type { Stats } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

export class FolderError extends Error {
  override readonly name = 'FolderError';
}

/**
 * @param mode Of every folder that is made, less the umask.
 * @returns Whether the folder was not there before.
 * @throws FolderError in words for the operator.
 */
export async function makeFolder(path: string, mode = 0o777): Promise<boolean> {
  const missing: string[] = [];
  let at = resolve(path);
  try {
    for (; !(await isFolder(at)); at = dirname(at)) missing.unshift(at);
    for (const folder of missing) {
      at = dirname(folder);
      // Another process may have made it meanwhile.
      await mkdir(folder, { mode }).catch(async (error: unknown) => {
        if (!(await isFolder(folder))) throw error;
      });
    }
  } catch (cause) {
    throw new FolderError(`cannot make the folder \`${path}\`: ${reasonOf(cause, at)}`, { cause });
  }
  return missing.length > 0;
}

/** `false` when there is nothing. */
async function isFolder(path: string): Promise<boolean> {
  let stats: Stats;
  try {
    stats = await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  if (!stats.isDirectory()) throw Object.assign(new Error(`\`${path}\` is no folder`), { code: 'ENOTDIR' });
  return true;
}

/** @param at The folder that exists, in which the next one was to be made. */
function reasonOf(error: unknown, at: string): string {
  const { code } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'EEXIST':
    case 'ENOTDIR':
      return 'something on its path is a file; choose another place';
    case 'ENOENT':
    case 'EROFS':
      return `nobody can make folders in \`${at}\` (${code}); choose another place`;
    case 'EACCES':
    case 'EPERM':
      return `you may not make folders in \`${at}\` (${code}); run as a user who may, or choose another place`;
    default:
      return code ?? String(error);
  }
}
