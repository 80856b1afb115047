/**
 * A lock on an open file that ends with the process, however it ends.
 *
 * `flock` belongs to the open file description: the kernel drops it when the last descriptor is closed or its process
 * dies, so a killed daemon leaves nothing locked, and nobody has to judge whether a lock file is stale. Node.js opens
 * files close-on-exec, so no child process inherits it. It is advisory: it keeps out a second daemon, not an editor.
 *
 * Source: flock(2). The numbers are the same on every architecture of Linux.
 */

import koffi from 'koffi';

const exclusive = 2;
const nonBlocking = 4;

// The C library is in every process of Node.js, whatever its file is called.
const flock = koffi.load(null).func('int flock(int descriptor, int operation)');

/** @returns `false` when another open file description has the lock (or the file system has no locks). */
export function tryLock(descriptor: number): boolean {
  return flock(descriptor, exclusive | nonBlocking) === 0;
}
