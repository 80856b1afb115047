/**
 * Asks a disk, on another thread, whether it takes something, before the main thread gives it what nobody waits for.
 *
 * SQLite writes in the main thread. A disk that hangs would keep it there until it goes on, and with it whoever asks for health, every
 * timer, and the watch over HSM hosts. A change has its intent on record before it is written (`turns.ts`), by a thread that may wait; what
 * has none asks here: the head of the audit log each second, last uses, and what else is written of the daemon's own accord.
 *
 * Asked is with a file that has no name, so that nothing is left of it. A file system without such files (NFS, some of FUSE) is
 * not asked.
 *
 * Accepted: a disk that stops between its answer and the write behind it hangs the daemon after all.
 *
 * Source: open(2), `O_TMPFILE`.
 */

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** Node.js has no name for it. The same on x86-64 and on ARM. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
/** An answer is good for so long: of many writes behind one another, a few wait for one. */
const goodForMs = 100;

export class AnsweringDisk {
  readonly #folder: string;
  #asking: Promise<void> | undefined;
  #answeredAtMs = Number.NEGATIVE_INFINITY;

  /** @param folder On that disk; this process may write to it. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Resolves when it has answered, if only that it is full or broken: whoever writes then hears the same at once. */
  answers(): Promise<void> {
    if (performance.now() - this.#answeredAtMs < goodForMs) return Promise.resolve();
    this.#asking ??= ask(this.#folder).finally(() => {
      this.#asking = undefined;
      this.#answeredAtMs = performance.now();
    });
    return this.#asking;
  }
}

async function ask(folder: string): Promise<void> {
  try {
    await using file = await open(folder, constants.O_WRONLY | O_TMPFILE, 0o600);
    await file.write('\0');
    await file.datasync();
  } catch {
    // That was an answer.
  }
}
