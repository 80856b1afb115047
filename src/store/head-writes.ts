/** When the head of the audit log that was noted last is written by itself: a second later, by a disk that answers. */

import type { AnsweringDisk } from './answering-disk.ts';

/** Before it, a write may come that takes it along: by itself it costs a sync of the disk. */
const delayMs = 1_000;

export class HeadWrites {
  readonly #disk: AnsweringDisk;
  readonly #write: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;
  #isEnded = false;

  /** @param write Whatever is noted by then. */
  constructor(disk: AnsweringDisk, write: () => Promise<void>) {
    this.#disk = disk;
    this.#write = write;
  }

  /** A head was noted. */
  noted(): void {
    if (this.#timer !== undefined || this.#isEnded) return;
    // What failed stays noted, and a later one says the same.
    this.#timer = setTimeout(() => void this.#writeLater().catch(() => undefined), delayMs).unref();
  }

  end(): void {
    this.#isEnded = true;
    clearTimeout(this.#timer);
  }

  async #writeLater(): Promise<void> {
    await this.#disk.answers();
    this.#timer = undefined;
    if (!this.#isEnded) await this.#write();
  }
}
