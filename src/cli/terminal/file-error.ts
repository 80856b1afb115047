/** Why a file that somebody named cannot be read or written, in words for him. */

import { fileProblem } from '../../secrets/file-problem.ts';

/** @param path `undefined`: stdin. */
export function unreadable(path: string | undefined, error: unknown): Error {
  return new Error(`cannot read \`${path ?? '-'}\`: ${fileProblem(error, 'read', 'you')}`, { cause: error });
}

/** @param path `undefined`: stdout. */
export function unwritable(path: string | undefined, error: unknown): Error {
  return new Error(`cannot write \`${path ?? '-'}\`: ${fileProblem(error, 'write', 'you')}`, { cause: error });
}
