/**
 * Finds where one message of the AWS Encryption SDK ends and the next begins: `encrypt >> backup.enc` twice makes a file of two,
 * and the library reads the first of them and drops the rest without a word.
 *
 * Lengths are believed as they stand, because nothing is made of them but cuts: each message goes to the library whole, which
 * verifies it, and a length that was changed makes it one that does not verify. What does not begin like a message is not cut.
 *
 * Source: AWS Encryption SDK developer guide, "Message format reference", "Algorithms reference" (version 2 of the format, which
 * all suites with key commitment have, and version 1, which all others have).
 */

/** A part of one message. */
export interface MessagePiece {
  readonly bytes: Buffer;
  /** It is the last one of its message. */
  readonly endsMessage: boolean;
  /** It is of the signature at its end. */
  readonly isSignature: boolean;
}

/** So many bytes of the message come next; `then` is told those of a field, and says what follows: nothing, when it was the last. */
interface Step {
  readonly length: number;
  readonly isField: boolean;
  /** It is of the signature. */
  readonly isSignature?: true;
  readonly then: (field: Buffer) => Step | undefined;
}

/** What differs between the versions of the format: bytes before the message id, and at the end of the header. */
interface Version {
  readonly suiteAt: number;
  readonly messageIdBytes: number;
  /** Behind the length of the frames. */
  readonly sealBytes: number;
  /** Between the content type and the length of the frames. */
  readonly reservedBytes: number;
}
const framed = 2;
const algorithmsWithSignature: ReadonlySet<number> = new Set([0x0214, 0x0346, 0x0378, 0x0578]);
const finalFrame = 0xffff_ffff;
const [ivBytes, tagBytes, suiteDataBytes] = [12, 16, 32];
const versions: Readonly<Record<number, Version>> = {
  1: { suiteAt: 1, messageIdBytes: 16, reservedBytes: 5, sealBytes: ivBytes + tagBytes },
  2: { suiteAt: 0, messageIdBytes: 32, reservedBytes: 0, sealBytes: suiteDataBytes + tagBytes },
};

export class MessageCutter {
  #step: Step = this.#beginning();
  #left = this.#step.length;
  #field: Buffer[] = [];
  #keys: string[] = [];
  #hasCommitment = true;

  /** Of the message that is being read: whether its suite has key commitment, or is none that is known. */
  get hasCommitment(): boolean {
    return this.#hasCommitment;
  }

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
      const isSignature = this.#step.isSignature === true;
      const endsMessage = this.#left === 0 && !this.#goOn();
      const beginsSignature = !isSignature && this.#step.isSignature === true;
      if (!endsMessage && !beginsSignature) continue;
      yield { bytes: chunk.subarray(start, at), endsMessage, isSignature };
      start = at;
    }
    const isSignature = this.#step.isSignature === true;
    if (start < at) yield { bytes: chunk.subarray(start, at), endsMessage: false, isSignature };
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
    return field(1, (first) => {
      this.#keys = [];
      const version = versions[first[0] ?? 0];
      this.#hasCommitment = version !== versions[1];
      if (version === undefined) return passing(Number.POSITIVE_INFINITY, () => undefined);
      return field(version.suiteAt + 2 + version.messageIdBytes + 2, (start) => {
        const end = algorithmsWithSignature.has(start.readUInt16BE(version.suiteAt)) ? signature() : undefined;
        const contextBytes = start.readUInt16BE(start.length - 2);
        const keys = () => field(2, (count) => this.#dataKeys(count.readUInt16BE(), content(version, end)));
        return passing(contextBytes, keys);
      });
    });
  }

  #dataKeys(count: number, next: Step): Step {
    if (count === 0) return next;
    const ciphertext = () => sized((bytes) => passing(bytes, () => this.#dataKeys(count - 1, next)));
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
function content({ reservedBytes, sealBytes }: Version, end: Step | undefined): Step {
  return field(1 + reservedBytes + 4 + sealBytes, (header) =>
    header[0] === framed ? frame(header.readUInt32BE(1 + reservedBytes), end) : unframed(end),
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
  const step = sized((bytes) => ({ ...passing(bytes, () => undefined), isSignature: true }));
  return { ...step, isSignature: true };
}
