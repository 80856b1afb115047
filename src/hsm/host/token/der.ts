/**
 * Reading DER: one value after the other, every byte accounted for.
 *
 * For key material of strangers, where OpenSSL is too kind: it reads BER, leaves what stands behind a key, and so lets one key have many
 * texts. What is read are views of the input, so that whoever wipes it wipes them. Source: X.690, sections 8.1 and 10.1.
 */

/** The tags that keys have. */
export const tags = {
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectIdentifier: 0x06,
  sequence: 0x30,
  /** `[0]` and `[1]`, constructed. */
  context0: 0xa0,
  context1: 0xa1,
} as const;

export class DerError extends Error {
  override readonly name = 'DerError';
}

export class DerReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** The contents of the next value, which has this tag. Throws `DerError`. */
  read(tag: number): Buffer {
    if (this.#bytes[this.#at] !== tag) throw new DerError('another tag than expected');
    const first = this.#bytes[this.#at + 1];
    if (first === undefined) throw new DerError('it ends before a length');
    let at = this.#at + 2;
    let length = first;
    if (first >= 0x80) {
      // Two bytes are room for 64 KiB, which no key comes near to.
      const lengthBytes = first & 0x7f;
      if (lengthBytes < 1 || lengthBytes > 2 || at + lengthBytes > this.#bytes.length)
        throw new DerError('a length that no key has');
      length = this.#bytes.readUIntBE(at, lengthBytes);
      at += lengthBytes;
      if (length < 0x80 || (lengthBytes === 2 && length < 0x100))
        throw new DerError('a length that is not the shortest');
    }
    if (length > this.#bytes.length - at) throw new DerError('it ends inside of a value');
    this.#at = at + length;
    return this.#bytes.subarray(at, at + length);
  }

  /** The same, or `undefined` where the next value has another tag or there is none. */
  readIf(tag: number): Buffer | undefined {
    return this.#bytes[this.#at] === tag ? this.read(tag) : undefined;
  }

  /** A number that is not negative, without the zero that may stand before it. */
  readUnsigned(): Buffer {
    const value = this.read(tags.integer);
    const [first, second] = value;
    if (first === undefined || first >= 0x80) throw new DerError('a negative number, or none');
    if (first !== 0 || second === undefined) return value;
    if (second < 0x80) throw new DerError('a number that is not the shortest');
    return value.subarray(1);
  }

  /** Throws `DerError` when there is anything left. */
  end(): void {
    if (this.#at !== this.#bytes.length) throw new DerError('there are bytes behind it');
  }
}

/** The contents of `bytes`, which are one value with this tag and nothing else. Throws `DerError`. */
export function onlyValue(bytes: Buffer, tag: number): Buffer {
  const reader = new DerReader(bytes);
  const value = reader.read(tag);
  reader.end();
  return value;
}

/** Puts a tag and a length before `contents`, which are shorter than 128 bytes or, with one more byte, than 256. */
export function shortValue(tag: number, contents: Buffer): Buffer {
  const head = contents.length < 0x80 ? [tag, contents.length] : [tag, 0x81, contents.length];
  return Buffer.concat([Buffer.from(head), contents]);
}
