/**
 * Ends this process when the API process dies, however it dies, and whatever the vendor's library is doing.
 *
 * A host that waits for a frame sees its pipe close; one that hangs in the library does not look, and would go on holding
 * the token and its PIN. SIGKILL also ends a process that is stopped. A parent that is gone before this is called leaves
 * the closed pipe to say so: nothing is loaded before the first frame.
 *
 * Source: prctl(2), "PR_SET_PDEATHSIG". The signal comes when the thread ends that started this process; that is the API
 * process's main thread.
 */

import koffi from 'koffi';

const prSetPdeathsig = 1;
const sigkill = 9;

/** Throws when the kernel refuses, which it never does to a signal that exists. */
export function endWithParent(): void {
  const self = koffi.load(null); // The C library is in every process of Node.js, whatever its file is called.
  const prctl = self.func('int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long)');
  if (prctl(prSetPdeathsig, sigkill, 0, 0, 0) !== 0) throw new Error('prctl(PR_SET_PDEATHSIG, SIGKILL) failed');
}
