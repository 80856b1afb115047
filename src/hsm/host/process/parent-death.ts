/**
 * Ends this process when the API process dies, however it dies, and whatever the vendor's library is doing.
 *
 * A host that waits for a frame sees its pipe close; one that hangs in the library does not look, and would go on holding
 * the token and its PIN. SIGKILL also ends a process that is stopped. But SIGKILL must not meet C_Login (`hsm-host.ts` says
 * why), so while the token is opened an alarm is what ends a process that hangs, and a parent that is gone by then leaves
 * the closed pipe to say so.
 *
 * Source: prctl(2), "PR_SET_PDEATHSIG"; alarm(2). The first signal comes when the thread ends that started this process; that is
 * the API process's main thread. The second ends a process that does not handle it, which Node.js does not.
 */

import koffi from 'koffi';

const prSetPdeathsig = 1;
const sigkill = 9;

/** The C library is in every process of Node.js, whatever its file is called. */
const cLibrary = () => koffi.load(null);

/** Runs what SIGKILL must not meet. Longer than `seconds` ends this process by SIGALRM. */
export function endAfter<Result>(seconds: number, work: () => Result): Result {
  const alarm = cLibrary().func('unsigned int alarm(unsigned int seconds)');
  alarm(seconds);
  try {
    return work();
  } finally {
    alarm(0);
  }
}

/** Throws when the kernel refuses, which it never does to a signal that exists. */
export function endWithParent(): void {
  const prctl = cLibrary().func('int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long)');
  if (prctl(prSetPdeathsig, sigkill, 0, 0, 0) !== 0) throw new Error('prctl(PR_SET_PDEATHSIG, SIGKILL) failed');
}
