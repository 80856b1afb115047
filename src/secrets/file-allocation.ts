/**
 * Room on a disk that belongs to a file before anything is written into it.
 *
 * `fallocate` with `FALLOC_FL_KEEP_SIZE` gives a file blocks behind its end, and leaves its size as it is. What is appended
 * then uses them up, so that a disk that others have filled still takes it; they stay the file's over a restart. A program
 * could keep room by a second file that it removes in time of need, but whoever filled the disk may be faster at taking
 * what becomes free.
 *
 * Source: fallocate(2). The numbers are the same on every architecture of Linux.
 */

import koffi from 'koffi';

const keepSize = 1;
const ENOSYS = 38;
const EOPNOTSUPP = 95;

// The C library is in every process of Node.js, whatever its file is called.
const fallocate = koffi.load(null).func('int fallocate(int descriptor, int mode, int64_t offset, int64_t length)');

/**
 * Waits for the disk, and so is for a start.
 * @param descriptor Open for writing.
 * @param end Offset in bytes up to which the file shall own its blocks.
 * @returns `unsupported`: the file system has no such thing; `refused`: there is no room, or the disk is in trouble.
 */
export function allocateNow(descriptor: number, end: number): 'done' | 'unsupported' | 'refused' {
  if (fallocate(descriptor, keepSize, 0, end) === 0) return 'done';
  const errno = koffi.errno();
  return errno === ENOSYS || errno === EOPNOTSUPP ? 'unsupported' : 'refused';
}

/**
 * The same off the event loop, on a file system that has it. (Why it was refused is not known: `errno` is the thread's.)
 * @param descriptor Open until the promise resolves. It never rejects.
 */
export function allocate(descriptor: number, end: number): Promise<'done' | 'refused'> {
  return new Promise((resolve) => {
    fallocate.async(descriptor, keepSize, 0, end, (error: unknown, result: number) => {
      resolve(error === null && result === 0 ? 'done' : 'refused');
    });
  });
}
