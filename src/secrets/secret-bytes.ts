/**
 * Bytes that must not be seen: plaintexts, data keys, PINs, and secrets with which requests are signed.
 *
 * The bytes sit behind a `#` member, so that no logger, inspector or JSON serializer prints them by accident; `reveal()`
 * is the only way in, and `grep -rn 'reveal('` is the list of places to review. Whoever ends a secret's life calls
 * `wipe()` (or declares it with `using`). What cannot be wiped: the base64 strings in which AWS's wire format carries
 * the plaintexts of answers (JavaScript strings are immutable and collected whenever the engine likes); they are kept as
 * short-lived as the code allows, and core dumps are off. Those of requests become no strings (`pipeline/request-json.ts`).
 */

import { inspect } from 'node:util';

class SecretBytes {
  readonly #bytes: Buffer;

  /**
   * @param bytes The secret; the object owns this memory from here on and wipes it. It must come from `secret-memory.ts`,
   * or be a view of memory that nobody else uses (`Buffer.from` and `allocUnsafe` share one pool, and V8 moves short ones about).
   */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get lengthBytes(): number {
    return this.#bytes.length;
  }

  /** The bytes themselves, not a copy: they are zero after `wipe()`. */
  reveal(): Buffer {
    return this.#bytes;
  }

  wipe(): void {
    this.#bytes.fill(0);
  }

  [Symbol.dispose](): void {
    this.wipe();
  }

  toString(): string {
    return `[${this.describe()}]`;
  }

  toJSON(): string {
    return this.toString();
  }

  [inspect.custom](): string {
    return this.toString();
  }

  protected describe(): string {
    return `secret, ${this.#bytes.length} bytes`;
  }
}

/** A caller's plaintext or a data key. */
export class Plaintext extends SecretBytes {
  protected override describe(): string {
    return `plaintext, ${this.lengthBytes} bytes`;
  }
}

/** The user PIN of a token. Its length is a secret too. */
export class Pin extends SecretBytes {
  protected override describe(): string {
    return 'PIN';
  }
}

/**
 * A secret of another kind, such as a secret access key. Its length is a secret too.
 *
 * INVARIANT: nothing is computed with one that was wiped. It would be all zeros, which everybody knows, and what is signed
 * with zeros would be taken for its owner's.
 */
export class Secret extends SecretBytes {
  #isWiped = false;

  /** @throws TypeError when it was wiped. */
  override reveal(): Buffer {
    if (this.#isWiped) throw new TypeError('a secret is used after it was wiped');
    return super.reveal();
  }

  override wipe(): void {
    this.#isWiped = true;
    super.wipe();
  }

  protected override describe(): string {
    return 'secret';
  }
}
