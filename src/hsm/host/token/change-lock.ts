/**
 * One lane of a host at a time changes token objects.
 *
 * Measured: with SoftHSM2 2.6.1, four threads generating token keys at once meet `CKR_GENERAL_ERROR` in about one of a
 * hundred calls, though the library was told to lock; four processes do not. Making and destroying keys is rare, so it is
 * serialised for every vendor. A lane that hangs while it holds the lock is no new danger: its call's deadline ends the
 * whole host.
 */

const free = 0;
const held = 1;

export class ChangeLock {
  readonly #state: Int32Array;

  /** @param memory What `newChangeLockMemory` made, shared by the lanes of the host. */
  constructor(memory: SharedArrayBuffer) {
    this.#state = new Int32Array(memory);
  }

  /** Runs `change` while no other lane runs one. Not reentrant. */
  hold<Result>(change: () => Result): Result {
    while (Atomics.compareExchange(this.#state, 0, free, held) !== free) Atomics.wait(this.#state, 0, held);
    try {
      return change();
    } finally {
      Atomics.store(this.#state, 0, free);
      Atomics.notify(this.#state, 0, 1);
    }
  }
}

export function newChangeLockMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
}
