/**
 * The lock of an agent (`ssh-add -x`): while it is on, no key is shown and nothing signed.
 *
 * The passphrase is kept as a hash that is slow to try, and each wrong one makes the next answer wait longer, as with OpenSSH's
 * agent, so that a program of the same user cannot find it by asking.
 */

import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const hashBytes = 32;
const hashOf = promisify<Buffer, Buffer, number, Buffer>(scrypt);

const delayMs = 100;
const maxDelayMs = 10_000;

export class AgentLock {
  #locked: { readonly salt: Buffer; readonly hash: Buffer } | undefined;
  #failures = 0;
  /** One after the other: asking many times at once is no quicker. */
  #last: Promise<unknown> = Promise.resolve();

  get isLocked(): boolean {
    return this.#locked !== undefined;
  }

  /** @returns Whether it is locked now by this passphrase; `false` when it was already. */
  lock(passphrase: Buffer): Promise<boolean> {
    return this.#inTurn(async () => {
      if (this.#locked !== undefined) return false;
      const salt = randomBytes(hashBytes);
      this.#locked = { salt, hash: await hashOf(passphrase, salt, hashBytes) };
      this.#failures = 0;
      return true;
    });
  }

  /** @returns Whether it was locked, and by this passphrase. */
  unlock(passphrase: Buffer): Promise<boolean> {
    return this.#inTurn(async () => {
      if (this.#locked === undefined) return false;
      const { salt, hash } = this.#locked;
      if (timingSafeEqual(await hashOf(passphrase, salt, hashBytes), hash)) {
        this.#locked = undefined;
        return true;
      }
      this.#failures++;
      await sleep(Math.min(this.#failures * delayMs, maxDelayMs));
      return false;
    });
  }

  #inTurn(work: () => Promise<boolean>): Promise<boolean> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined); // Whoever asked gets it; the next one is not concerned.
    return done;
  }
}
