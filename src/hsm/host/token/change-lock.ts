/**
 * What one lane of a host at a time does with token objects.
 *
 * Measured: with SoftHSM2 2.6.1, four threads generating token keys at once meet `CKR_GENERAL_ERROR` in about one of a
 * hundred calls, though the library was told to lock; four processes do not. And while it carries out C_CopyObject, the new
 * session object is still marked as a token object for a moment, so that a search in another thread finds the key twice:
 * whoever looks for a key to copy would take it for ambiguous, whoever destroys it would destroy the copy too.
 *
 * So *changes* of the token are serialised; they are rare, and may take as long as the search for the primes of an RSA key. And
 * *copies*, with the searches before them, are. Where the profile calls sessions parallel, each has a lock of its own, so that a
 * lane that uses a key for the first time does not wait until somebody's RSA key was generated; a new key needs no protection from
 * copies while it is made, because nobody knows its id yet. Where it does not, there is one lock for both: in SoftHSM2
 * 2.6.1 a search in one thread makes the creation of a token key in another fail (`CKR_GENERAL_ERROR`, about one of 50, measured).
 * A lane that hangs while it holds a lock is no new danger: its call's deadline ends the whole host.
 */

const free = 0;
const held = 1;
const changes = 0;

export class ChangeLock {
  readonly #states: Int32Array;
  readonly #copies: number;

  /** @param memory What `newChangeLockMemory` made, shared by the lanes of the host. */
  constructor(memory: SharedArrayBuffer, sessionsAreParallel: boolean) {
    this.#states = new Int32Array(memory);
    this.#copies = sessionsAreParallel ? 1 : changes;
  }

  /** Runs what makes or destroys token objects while no other lane does. Not reentrant. */
  changing<Result>(change: () => Result): Result {
    return this.#hold(changes, change);
  }

  /** Runs what looks a key up and copies it while no other lane does. Not reentrant. */
  copying<Result>(copy: () => Result): Result {
    return this.#hold(this.#copies, copy);
  }

  /** Inside of `changing`: runs what must not meet another lane's half-made copy. */
  withoutCopies<Result>(destruction: () => Result): Result {
    return this.#copies === changes ? destruction() : this.copying(destruction);
  }

  #hold<Result>(lock: number, work: () => Result): Result {
    while (Atomics.compareExchange(this.#states, lock, free, held) !== free) Atomics.wait(this.#states, lock, held);
    try {
      return work();
    } finally {
      Atomics.store(this.#states, lock, free);
      Atomics.notify(this.#states, lock, 1);
    }
  }
}

export function newChangeLockMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT);
}
