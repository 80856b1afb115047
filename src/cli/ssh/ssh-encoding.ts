/** The data types of SSH: length-prefixed strings and big-endian numbers, read and written. Source: RFC 4251, section 5. */

/** What somebody else wrote is not of the format that it should have. */
export class SshFormatError extends Error {
  override readonly name = 'SshFormatError';
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function uint64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

/** @param content Bytes, or a text in UTF-8. */
export function sshString(content: Uint8Array | string): Buffer {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  return Buffer.concat([uint32(bytes.length), bytes]);
}

/** @param magnitude Big-endian, of a number that is not negative. */
export function mpint(magnitude: Uint8Array): Buffer {
  const start = magnitude.findIndex((byte) => byte !== 0);
  if (start === -1) return uint32(0);
  const bytes = magnitude.subarray(start);
  return sshString((bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
}

/** Reads one value after the other; whatever lacks a byte is an SshFormatError. */
export class SshReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  byte(): number {
    return this.#take(1).readUInt8();
  }

  boolean(): boolean {
    return this.byte() !== 0;
  }

  uint32(): number {
    return this.#take(4).readUInt32BE();
  }

  uint64(): bigint {
    return this.#take(8).readBigUInt64BE();
  }

  /** A view on the bytes that are read. */
  string(): Buffer {
    return this.#take(this.uint32());
  }

  text(): string {
    return this.string().toString();
  }

  /** The magnitude, without leading zeros. */
  mpint(): Buffer {
    const bytes = this.string();
    if ((bytes[0] ?? 0) >= 0x80) throw new SshFormatError('a number is negative');
    const start = bytes.findIndex((byte) => byte !== 0);
    return start === -1 ? Buffer.alloc(0) : bytes.subarray(start);
  }

  /** What is left. */
  rest(): Buffer {
    return this.#take(this.#bytes.length - this.#at);
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new SshFormatError('there is more than there may be');
  }

  #take(length: number): Buffer {
    const start = this.#at;
    if (length > this.#bytes.length - start) throw new SshFormatError('it ends too early');
    this.#at += length;
    return this.#bytes.subarray(start, this.#at);
  }
}
