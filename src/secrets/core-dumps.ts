/**
 * Keeps the memory of this process, and so the PINs and plaintexts in it, out of core files and away from debuggers.
 *
 * Two locks, because each has a hole: `RLIMIT_CORE` 0 does not stop a `core_pattern` that pipes into a program (systemd's
 * and Ubuntu's do), `PR_SET_DUMPABLE` 0 does; that one also refuses `ptrace` and `/proc/PID/mem` to other processes of
 * the same user. What remains: root, and swap.
 *
 * Source: prctl(2), "PR_SET_DUMPABLE"; setrlimit(2); core(5). The numbers are Linux's on every architecture of Node.js 24.
 */

import koffi from 'koffi';

const prSetDumpable = 4;
const rlimitCore = 4;

/** Throws when the kernel refuses, which it never does to a process of its own. */
export function disableCoreDumps(): void {
  const self = koffi.load(null); // The C library is in every process of Node.js, whatever its file is called.
  const prctl = self.func('int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long)');
  // `struct rlimit` is two numbers of 8 bytes, the soft limit and the hard one; both are zero.
  const setrlimit = self.func('int setrlimit(int resource, const uint64_t *limits)');
  if (setrlimit(rlimitCore, new BigUint64Array(2)) !== 0) throw new Error('setrlimit(RLIMIT_CORE, 0) failed');
  if (prctl(prSetDumpable, 0, 0, 0, 0) !== 0) throw new Error('prctl(PR_SET_DUMPABLE, 0) failed');
}
