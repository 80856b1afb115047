/**
 * A lane's end of its socket: blocking reads and writes of one file descriptor, from the one thread that serves it.
 *
 * The API process makes the socket pair; this end of it is a blocking one. Should it be handed over non-blocking, the
 * lane still works, polling each millisecond. The other end's death is not an error: it is how a host is told to end.
 */

import { readSync, writeSync } from 'node:fs';
import { FrameError, type FrameReader, maxFrameBytes } from '../../frames.ts';

const readBytes = 64 * 1024;
const pollMs = 1;
const sleeper = new Int32Array(new SharedArrayBuffer(4));

export class PeerGone extends Error {
  override readonly name = 'PeerGone';
}

export class Pipe {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Waits for bytes and adds them to the reader. Throws `PeerGone`. */
  fill(reader: FrameReader): void {
    reader.filled(this.#read(reader.room(readBytes)));
  }

  /**
   * The bytes of exactly one frame, its length included, in memory of their own: for a frame whose successors another
   * thread will read. Throws `PeerGone`, `FrameError`.
   */
  readFrame(): Buffer {
    const head = this.#readExactly(Buffer.alloc(4));
    const length = head.readUInt32BE(0);
    if (length > maxFrameBytes) throw new FrameError(`a frame cannot have ${length} bytes`);
    const frame = Buffer.alloc(4 + length);
    head.copy(frame);
    this.#readExactly(frame.subarray(4));
    return frame;
  }

  /** Writes all of it. Throws `PeerGone`. */
  write(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      const written = retrying(() => writeSync(this.#fd, bytes, at, bytes.length - at));
      at += written;
    }
  }

  #readExactly(buffer: Buffer): Buffer {
    let at = 0;
    while (at < buffer.length) at += this.#read(buffer.subarray(at));
    return buffer;
  }

  #read(room: Buffer): number {
    const bytes = retrying(() => readSync(this.#fd, room, 0, room.length, null));
    if (bytes === 0) throw new PeerGone('end of file');
    return bytes;
  }
}

function retrying(call: () => number): number {
  for (;;) {
    try {
      return call();
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code === 'EPIPE' || code === 'ECONNRESET') throw new PeerGone(String(code), { cause: error });
      if (code === 'EAGAIN') Atomics.wait(sleeper, 0, 0, pollMs);
      else if (code !== 'EINTR') throw error;
    }
  }
}
