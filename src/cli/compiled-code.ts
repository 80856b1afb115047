/**
 * The compiled form of the program, kept on disk between one command and the next: most of the time that a command takes is
 * the compilation of the same sources.
 *
 * Whoever can write where it is kept decides what the next command does. Node.js's own default is a folder in /tmp that anybody
 * can make first; here it is in the user's own cache, and only where no other user can change any part of the path.
 * Without such a place, as with a home that is missing or somebody else's (sudo), nothing is kept and commands take longer.
 *
 * Source: XDG Base Directory Specification, `XDG_CACHE_HOME`; Node.js, `module.enableCompileCache`.
 */

import { lstatSync, mkdirSync, realpathSync } from 'node:fs';
// By its members: of a Node.js that lacks one, `beginning.ts` has to get to say that it is too old.
import * as nodeModules from 'node:module';
import { dirname, isAbsolute, join } from 'node:path';

let keptIn: string | undefined;

/** Does nothing where the environment has decided about it already (`NODE_COMPILE_CACHE`, `NODE_DISABLE_COMPILE_CACHE`). */
export function keepCompiledCode(environment: NodeJS.ProcessEnv = process.env): void {
  if (environment['NODE_COMPILE_CACHE'] !== undefined || environment['NODE_DISABLE_COMPILE_CACHE'] !== undefined)
    return;
  keptIn = compiledCodeFolder(environment);
  if (keptIn !== undefined) nodeModules.enableCompileCache(keptIn);
}

/** Where `keepCompiledCode` has this process keep it, for `NODE_COMPILE_CACHE` of another one; `undefined` if it did nothing. */
export const keptCompiledCode = (): string | undefined => keptIn;

/** Where compiled code may be kept, made if need be; `undefined` if there is no such place. */
export function compiledCodeFolder({ XDG_CACHE_HOME: cache, HOME: home }: NodeJS.ProcessEnv): string | undefined {
  try {
    if (cache !== undefined && isAbsolute(cache)) return folderIn(cache, ['drawbridge']);
    if (home !== undefined && isAbsolute(home)) return folderIn(home, ['.cache', 'drawbridge']);
  } catch {
    // Whatever is in the way there, a command can do without.
  }
  return undefined;
}

function folderIn(base: string, names: readonly string[]): string | undefined {
  let folder = realpathSync(base);
  if (!isOurs(folder)) return undefined;
  for (const name of names) {
    folder = join(folder, name);
    try {
      mkdirSync(folder, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  // Looked at again: what was there already may be a link to somewhere else.
  folder = realpathSync(folder);
  return isOurs(folder) ? folder : undefined;
}

/** Nobody but root and this user can change any part of a path without links, nor what is in the folder that it leads to. */
function isOurs(path: string, isAbove = false): boolean {
  const { uid, mode } = lstatSync(path);
  if (uid !== 0 && uid !== process.geteuid?.()) return false;
  // Above it, as in /tmp, the sticky bit keeps others from changing the next part.
  if ((mode & 0o022) !== 0 && !(isAbove && (mode & 0o1000) !== 0)) return false;
  return path === '/' || isOurs(dirname(path), true);
}
