/**
 * Finds where one message of the AWS Encryption SDK ends and the next begins: `encrypt >> backup.enc` twice makes a file of two,
 * and the library reads the first of them and drops the rest without a word.
 *
 * Lengths are believed as they stand, because nothing is made of them but cuts: each message goes to the library whole, which
 * verifies it, and a length that was changed makes it one that does not verify. What does not begin like a message is not cut.
 *
 * Source: AWS Encryption SDK developer guide, "Message format reference" (version 2, which all suites with key commitment have).
 */

/** A part of one message. */
export interface MessagePiece {
  readonly bytes: Buffer;
  /** It is the last one of its message. */
  readonly endsMessage: boolean;
}

/** So many bytes of the message come next; `then` is told those of a field, and says what follows: nothing, when it was the last. */
interface Step {
  readonly length: number;
  readonly isField: boolean;
  readonly then: (field: Buffer) => Step | undefined;
}

const version = 2;
const framed = 2;
const algorithmsWithSignature: ReadonlySet<number> = new Set([0x0578]);
const finalFrame = 0xffff_ffff;
const [ivBytes, tagBytes, messageIdBytes, suiteDataBytes] = [12, 16, 32, 32];

export class MessageCutter {
  #step: Step = this.#beginning();
  #left = this.#step.length;
  #field: Buffer[] = [];
  #keys: string[] = [];

  /** Of the message that is being read: what its data key was encrypted under, as far as that has been read. */
  get keys(): readonly string[] {
    return this.#keys;
  }

  /** Cuts what comes next; the pieces together are `chunk`. */
  *take(chunk: Buffer): Generator<MessagePiece> {
    let start = 0;
    let at = 0;
    while (at < chunk.length) {
      const count = Math.min(this.#left, chunk.length - at);
      if (this.#step.isField) this.#field.push(chunk.subarray(at, at + count));
      at += count;
      this.#left -= count;
      const endsMessage = this.#left === 0 && !this.#goOn();
      if (!endsMessage) continue;
      yield { bytes: chunk.subarray(start, at), endsMessage };
      start = at;
    }
    if (start < at) yield { bytes: chunk.subarray(start, at), endsMessage: false };
  }

  /** @returns Whether the message goes on. A step of no bytes is over at once. */
  #goOn(): boolean {
    do {
      const next = this.#step.then(Buffer.concat(this.#field));
      this.#field = [];
      this.#step = next ?? this.#beginning();
      this.#left = this.#step.length;
      if (next === undefined) return false;
    } while (this.#left === 0);
    return true;
  }

  #beginning(): Step {
    return field(1 + 2 + messageIdBytes + 2, (start) => {
      this.#keys = [];
      if (start[0] !== version) return passing(Number.POSITIVE_INFINITY, () => undefined);
      const end = algorithmsWithSignature.has(start.readUInt16BE(1)) ? signature() : undefined;
      const contextBytes = start.readUInt16BE(start.length - 2);
      return passing(contextBytes, () => field(2, (count) => this.#dataKeys(count.readUInt16BE(), end)));
    });
  }

  #dataKeys(count: number, end: Step | undefined): Step {
    if (count === 0) return content(end);
    const ciphertext = () => sized((bytes) => passing(bytes, () => this.#dataKeys(count - 1, end)));
    const key = () => sized((bytes) => field(bytes, (name) => this.#noteKey(name.toString(), ciphertext())));
    return sized((bytes) => passing(bytes, key));
  }

  #noteKey(name: string, next: Step): Step {
    this.#keys.push(name);
    return next;
  }
}

function field(length: number, then: Step['then']): Step {
  return { length, isField: true, then };
}

function passing(length: number, then: () => Step | undefined): Step {
  return { length, isField: false, then };
}

/** Two bytes of length, and what has it. */
function sized(then: (bytes: number) => Step): Step {
  return field(2, (length) => then(length.readUInt16BE()));
}

/** The rest of the header, and the body. */
function content(end: Step | undefined): Step {
  return field(1 + 4 + suiteDataBytes + tagBytes, (header) =>
    header[0] === framed ? frame(header.readUInt32BE(1), end) : unframed(end),
  );
}

function frame(frameBytes: number, end: Step | undefined): Step {
  return field(4, (sequence) => {
    if (sequence.readUInt32BE() !== finalFrame)
      return passing(ivBytes + frameBytes + tagBytes, () => frame(frameBytes, end));
    return field(4 + ivBytes + 4, (final) => passing(final.readUInt32BE(4 + ivBytes) + tagBytes, () => end));
  });
}

function unframed(end: Step | undefined): Step {
  return field(ivBytes + 8, (start) => passing(Number(start.readBigUInt64BE(ivBytes)) + tagBytes, () => end));
}

function signature(): Step {
  return sized((bytes) => passing(bytes, () => undefined));
}
