/**
 * What makes a file or folder private: it is what it claims to be, it is this user's, and nobody else may use it.
 *
 * For what Drawbridge itself writes (metadata, audit log). Nobody but the daemon's user needs to read either, and whoever
 * can write to the folder can put another file in its place, which no check of the file alone would see.
 */

import type { Stats } from 'node:fs';

/** @returns What is wrong and what to run, for operators; `undefined` when the file or folder is private. */
export function privacyProblem(path: string, stats: Stats, kind: 'file' | 'folder'): string | undefined {
  if (kind === 'file' ? !stats.isFile() : !stats.isDirectory()) return `\`${path}\` is not a ${kind}`;
  const uid = process.geteuid?.();
  if (stats.uid !== uid) {
    return `\`${path}\` belongs to uid ${stats.uid}, not to uid ${uid}, who runs this; run as that user, or: chown ${uid} ${path}`;
  }
  if ((stats.mode & 0o077) === 0) return undefined;
  const found = (stats.mode & 0o7777).toString(8).padStart(4, '0');
  return `\`${path}\` has mode ${found}, so others can get at it; run: chmod ${kind === 'file' ? '0600' : '0700'} ${path}`;
}
