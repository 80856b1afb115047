/**
 * The file under the audit log: appends bytes and says how many of them got there, cuts off, syncs, closes.
 *
 * Callbacks rather than promises, and one call at a time: it is on the path of every request, and its only user queues.
 *
 * A write goes to another thread and comes back, which takes 14 µs where a call takes 2, because a call may wait for a disk that
 * hangs, and everybody with it. There is no call that cannot: `RWF_NOWAIT` is refused for buffered writes by ext4 and tmpfs; xfs and
 * btrfs do most of them in 2 to 4 µs where space was allocated, and wait all the same while the file system is frozen (all on
 * Linux 6.18).
 *
 * The thread is one of libuv's pool. One of our own, which a ring in shared memory hands the lines to while the main thread looks for
 * 60 µs whether they are written, was tried: while the main thread stays awake (`http/connections/staying-awake.ts`) one connection waits 181 µs
 * instead of 195, two wait 218 instead of 190, and with 16 a request costs 57 µs of CPU instead of 52, since to tell the main thread that has not
 * waited (`Atomics.waitAsync`) costs more than libuv's word. A write from the main thread would be 155 µs and 45 µs of CPU: that is
 * the price of a disk that hangs nobody. To hand a line over without waiting for the end of the turn is within 3 % of what it is.
 */

import { close, fdatasync, ftruncate, write } from 'node:fs';

export class AppendFile {
  readonly #descriptor: number;

  /** @param descriptor Opened for appending. The file owns it from here on. */
  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /**
   * Appends all bytes, in as many calls as the system needs.
   * @param done Is told how many bytes are in the file now, and why not all when fewer.
   */
  append(bytes: Buffer, done: (writtenBytes: number, error: Error | null) => void): void {
    const writeFrom = (from: number): void => {
      write(this.#descriptor, bytes, from, bytes.length - from, null, (error, count) => {
        if (error !== null) return done(from, error);
        if (count === 0) return done(from, new Error('the system wrote nothing and said no reason'));
        if (from + count < bytes.length) return writeFrom(from + count);
        done(bytes.length, null);
      });
    };
    writeFrom(0);
  }

  /** Cuts off what is behind this size, and what of the disk the file owned there. */
  cutTo(bytes: number, done: (error: Error | null) => void): void {
    ftruncate(this.#descriptor, bytes, done);
  }

  sync(done: (error: Error | null) => void): void {
    fdatasync(this.#descriptor, done);
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      close(this.#descriptor, (error) => (error ? reject(error) : resolve()));
    });
  }
}
