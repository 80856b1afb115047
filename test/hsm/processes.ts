/** Is there a process with this number? (A zombie of ours counts: nobody has waited for it yet.) */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // ESRCH: there is none. Any other error is not possible for a child of ours.
  }
}
