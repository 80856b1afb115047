/**
 * Whether the disk has room for what is about to be put on record.
 *
 * A change takes effect before its event is written, with its outcome. So that the event finds its place, a change is not
 * begun when little is left. This is no reservation: whoever else writes to the disk, or a change that takes long, can use
 * that up in between, and a disk can fail in other ways. `fallocate` would reserve, but what is written first uses it up,
 * whosever event that is.
 */

import { statfs } from 'node:fs/promises';

/** The largest lines of 64 changes at once, or some seconds of thousands of ordinary ones. */
const minFreeBytes = 4 * 1024 * 1024;

/** In words for the operator; `null` when there is room, or the file system does not say. */
export async function findLackOfSpace(path: string): Promise<string | null> {
  try {
    const { bavail, bsize, blocks } = await statfs(path);
    if (blocks === 0 || bavail * bsize >= minFreeBytes) return null;
    return `the disk of the audit log \`${path}\` has less than ${minFreeBytes / 1024 / 1024} MiB left; no change is begun before it has more`;
  } catch {
    // Then the write tells, as it does of every other trouble.
    return null;
  }
}
