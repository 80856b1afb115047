/**
 * Has a file been changed since it was last looked at? For the system's tables, of which every request may depend and which
 * are read far more often than they are written.
 *
 * One `stat` a look (a microsecond or two), no thread and no notification that can be lost. A file that is replaced, as
 * `useradd` and its siblings do, has another inode; one that is written in place has other times or another size. Who is
 * root and sets the times of a file back after writing as many bytes in place is not found out.
 */

import { type Stats, statSync } from 'node:fs';

/** What `stat` said, as far as it tells one state from another; or why it said nothing. */
type FileState = Pick<Stats, 'dev' | 'ino' | 'size' | 'mtimeMs' | 'ctimeMs'> | string;

export class WatchedFile {
  readonly path: string;
  #state: FileState | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** True at the first look, and at each that finds another state than the look before it. */
  hasChanged(): boolean {
    const state = stateOf(this.path);
    if (this.#state !== undefined && isSame(state, this.#state)) return false;
    this.#state = state;
    return true;
  }
}

/** A file that is not there, or cannot be looked at, has a state as well. */
function stateOf(path: string): FileState {
  try {
    return statSync(path);
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}

/** Number by number: texts of them take longer than the system's answer. */
function isSame(one: FileState, other: FileState): boolean {
  if (typeof one === 'string' || typeof other === 'string') return one === other;
  return (
    one.mtimeMs === other.mtimeMs &&
    one.ctimeMs === other.ctimeMs &&
    one.size === other.size &&
    one.ino === other.ino &&
    one.dev === other.dev
  );
}
