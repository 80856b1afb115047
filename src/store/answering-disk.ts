/**
 * Asks a disk, on another thread, whether it takes something, before the main thread gives it what nobody waits for.
 *
 * SQLite writes in the main thread. A disk that hangs would keep it there until it goes on, and with it whoever asks for health, every
 * timer, and the watch over HSM hosts. A change has its intent on record before it is written (`turns.ts`), by a thread that may wait; what
 * has none asks here: the head of the audit log each second, last uses, and what else is written of the daemon's own accord. So does a change
 * where the audit log is on another disk.
 *
 * Asked is with a file that has no name, so that nothing is left of it. A file system without such files (NFS, some of FUSE) is
 * not asked.
 *
 * Accepted: a disk that stops between its answer and the write behind it hangs the daemon after all. An answer is therefore good for no longer
 * than a few times what it took: on a fast disk that is 5 ms, and to ask again costs little there. A bound on the rest there is not: a thread
 * in `pwrite64` or `fdatasync` of such a disk is woken by nothing, not even by SIGKILL. Another thread would have to own the database; but
 * what is read on demand is read in the turn that decides on it, by this one, and a file has one process's locks.
 *
 * Source: open(2), `O_TMPFILE`.
 */

import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';

/** Node.js has no name for it. The same on x86-64 and on ARM. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
/** An answer is good for so many times as long as it took: of many writes behind one another, the last of five waits for one. */
const goodForFactor = 4;
/** To ask takes this thread a part of a millisecond, too, however fast the disk is. */
const leastGoodForMs = 5;
const mostGoodForMs = 100;

export interface DiskQuestion {
  /** A clock that goes on. */
  readonly nowMs: () => number;
  /** Resolves when there is an answer, whatever it is. */
  readonly ask: (folder: string) => Promise<void>;
}

export class AnsweringDisk {
  readonly #folder: string;
  #hasOther: Promise<boolean> | undefined;
  #asking: Promise<void> | undefined;
  #goodUntilMs = Number.NEGATIVE_INFINITY;
  readonly #question: DiskQuestion;

  /** @param folder On that disk; this process may write to it. */
  constructor(folder: string, question: DiskQuestion = { nowMs: () => performance.now(), ask: askWithNamelessFile }) {
    this.#folder = folder;
    this.#question = question;
  }

  /** Is this folder on it, too? What was written there has waited for it. Absent: that is not known, and is not said. */
  has(other: string | undefined): Promise<boolean> {
    this.#hasOther ??= other === undefined ? Promise.resolve(false) : areOnOneDisk(this.#folder, other);
    return this.#hasOther;
  }

  /** Resolves when it has answered, if only that it is full or broken: whoever writes then hears the same at once. */
  answers(): Promise<void> {
    const { nowMs, ask } = this.#question;
    const askedAtMs = nowMs();
    if (askedAtMs < this.#goodUntilMs) return Promise.resolve();
    this.#asking ??= ask(this.#folder).finally(() => {
      this.#asking = undefined;
      const answeredAtMs = nowMs();
      const forMs = goodForFactor * (answeredAtMs - askedAtMs);
      this.#goodUntilMs = answeredAtMs + Math.min(mostGoodForMs, Math.max(leastGoodForMs, forMs));
    });
    return this.#asking;
  }
}

async function areOnOneDisk(...folders: readonly [string, string]): Promise<boolean> {
  const devices = folders.map((folder) => stat(folder).then(({ dev }) => dev));
  const [one, other] = await Promise.all(devices).catch(() => [0, 1]);
  return one === other;
}

async function askWithNamelessFile(folder: string): Promise<void> {
  try {
    await using file = await open(folder, constants.O_WRONLY | O_TMPFILE, 0o600);
    await file.write('\0');
    await file.datasync();
  } catch {
    // That was an answer.
  }
}
