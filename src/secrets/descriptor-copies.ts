/**
 * A second descriptor of what is open already, which Node.js has no word for. It is closed in programs that this process starts.
 *
 * Source: fcntl(2), `F_DUPFD_CLOEXEC`. Its number is the same on every architecture of Linux.
 */

import koffi from 'koffi';

const F_DUPFD_CLOEXEC = 1030;
/** Those below are standard input, output and error. */
const firstDescriptor = 3;

// The C library is in every process of Node.js, whatever its file is called.
const fcntl = koffi.load(null).func('int fcntl(int descriptor, int command, ...)');

/** @returns The copy, which whoever gets it closes; `undefined` where the process has as many descriptors as it may have. */
export function copyDescriptor(descriptor: number): number | undefined {
  const copy: number = fcntl(descriptor, F_DUPFD_CLOEXEC, 'int', firstDescriptor);
  return copy < 0 ? undefined : copy;
}
