/**
 * The frame format of the pipe between the API process and an HSM host's lanes. One format, both directions:
 *
 *     bytes   what
 *     4       length of what follows, big-endian, at most `maxFrameBytes`
 *     4       request id, big-endian: chosen by the API process, repeated in the reply
 *     1       code: in a request the call's number (`calls.ts`), in a reply 0 for success or a failure's number
 *     1       number of fields, at most `maxFields`
 *     then, for each field:
 *     4       length of the field, big-endian
 *     n       the field's bytes
 *
 * Example: the request `random` (call 3) number 7 for 32 bytes is
 * `0000000e 00000007 03 01 00000004 00000020`: one field, a 4-byte number.
 *
 * A peer that sends anything else is broken, not untrusted: the reader throws `FrameError`, and the API process then
 * replaces the host (a host that reads nonsense ends itself). Fields are views of the reader's buffer and are valid
 * until the next `push`, `room` or `wipeRead`; whoever keeps one copies it. Frames carry plaintexts, so both ends wipe
 * their buffers: the writer after its bytes were handed on (`wipe`), the reader after frames were dealt with (`wipeRead`).
 */

import { passingSecretMemory } from '../secrets/secret-memory.ts';

/**
 * Larger than any call needs: a plaintext with its encryption context, or one page of `listKeys` (128 KiB). Bounds what a
 * broken peer can make us hold.
 */
export const maxFrameBytes = 256 * 1024;
export const maxFields = 8;

const lengthBytes = 4;
const headerBytes = 6;

export class FrameError extends Error {
  override readonly name = 'FrameError';
}

export interface Frame {
  readonly requestId: number;
  readonly code: number;
  readonly fields: readonly Buffer[];
}

/** Collects frames in one buffer, so that many go out in one write. */
export class FrameWriter {
  #buffer = Buffer.alloc(64 * 1024);
  #used = 0;

  get pendingBytes(): number {
    return this.#used;
  }

  /** Appends one frame. Throws `FrameError` when it would be too large; nothing is appended then. */
  append(requestId: number, code: number, fields: readonly Uint8Array[]): void {
    if (fields.length > maxFields)
      throw new FrameError(`a frame has at most ${maxFields} fields, not ${fields.length}`);
    let length = headerBytes;
    for (const field of fields) length += 4 + field.length;
    if (length > maxFrameBytes) throw new FrameError(`a frame has at most ${maxFrameBytes} bytes, not ${length}`);
    this.#reserve(lengthBytes + length);
    const buffer = this.#buffer;
    let at = buffer.writeUInt32BE(length, this.#used);
    at = buffer.writeUInt32BE(requestId, at);
    buffer[at++] = code;
    buffer[at++] = fields.length;
    for (const field of fields) {
      at = buffer.writeUInt32BE(field.length, at);
      buffer.set(field, at);
      at += field.length;
    }
    this.#used = at;
  }

  /**
   * The frames so far, in memory of their own that the caller wipes after use; the writer starts anew. For
   * asynchronous writes, where the bytes must stay until the system took them.
   * @param fromBytes Of what was written already.
   */
  take(fromBytes = 0): Buffer {
    const taken = passingSecretMemory(this.#used - fromBytes);
    this.#buffer.copy(taken, 0, fromBytes, this.#used);
    this.wipe();
    return taken;
  }

  /** A view of the frames so far, for a synchronous write followed by `wipe()` or `take()`. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#used);
  }

  /** Zeroes what was collected and starts anew. */
  wipe(): void {
    this.#buffer.fill(0, 0, this.#used);
    this.#used = 0;
  }

  #reserve(bytes: number): void {
    if (this.#used + bytes <= this.#buffer.length) return;
    const larger = Buffer.alloc(Math.max(this.#buffer.length * 2, this.#used + bytes));
    this.#buffer.copy(larger, 0, 0, this.#used);
    this.#buffer.fill(0);
    this.#buffer = larger;
  }
}

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  #buffer = Buffer.alloc(64 * 1024);
  #start = 0;
  #end = 0;

  /** Takes over (copies) the bytes of a chunk. */
  push(chunk: Uint8Array): void {
    this.room(chunk.length).set(chunk);
    this.filled(chunk.length);
  }

  /** At least `minBytes` of room for whoever reads into it directly; `filled` then says how many bytes came. */
  room(minBytes: number): Buffer {
    this.#compact(minBytes);
    return this.#buffer.subarray(this.#end);
  }

  filled(bytes: number): void {
    this.#end += bytes;
  }

  /**
   * The next complete frame, or `undefined`. Its fields are views, valid until the next `push`, `room` or `wipeRead`.
   * Throws `FrameError` for bytes that no frame has.
   */
  next(): Frame | undefined {
    const available = this.#end - this.#start;
    if (available < lengthBytes) return undefined;
    const buffer = this.#buffer;
    const length = buffer.readUInt32BE(this.#start);
    if (length < headerBytes || length > maxFrameBytes) throw new FrameError(`a frame cannot have ${length} bytes`);
    if (available < lengthBytes + length) return undefined;
    let at = this.#start + lengthBytes;
    const end = at + length;
    const requestId = buffer.readUInt32BE(at);
    const code = buffer.readUInt8(at + 4);
    const fieldCount = buffer.readUInt8(at + 5);
    at += headerBytes;
    if (fieldCount > maxFields) throw new FrameError(`a frame cannot have ${fieldCount} fields`);
    const fields: Buffer[] = [];
    for (let index = 0; index < fieldCount; index++) {
      if (at + 4 > end) throw new FrameError('a frame ends inside the length of a field');
      const fieldBytes = buffer.readUInt32BE(at);
      at += 4;
      if (fieldBytes > end - at) throw new FrameError('a frame ends inside a field');
      fields.push(buffer.subarray(at, at + fieldBytes));
      at += fieldBytes;
    }
    if (at !== end) throw new FrameError('a frame has bytes after its last field');
    this.#start = end;
    return { requestId, code, fields };
  }

  /** Zeroes the frames that `next` returned; what is unread stays. */
  wipeRead(): void {
    this.#buffer.fill(0, 0, this.#start);
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = 0;
    }
  }

  /** Zeroes everything that was read or is left. */
  wipe(): void {
    this.#buffer.fill(0);
    this.#start = 0;
    this.#end = 0;
  }

  /** Moves what is unread to the front, zeroes what was read, and makes room. */
  #compact(incomingBytes: number): void {
    const unread = this.#end - this.#start;
    if (this.#start > 0) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#buffer.fill(0, unread, this.#end);
      this.#start = 0;
      this.#end = unread;
    }
    if (unread + incomingBytes <= this.#buffer.length) return;
    const larger = Buffer.alloc(Math.max(this.#buffer.length * 2, unread + incomingBytes));
    this.#buffer.copy(larger, 0, 0, unread);
    this.#buffer.fill(0);
    this.#buffer = larger;
  }
}
