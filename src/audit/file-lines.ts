/**
 * Cuts a file's bytes into lines without ever holding more than one chunk and one line of the longest kind. A line that
 * is longer than any record comes in several pieces: it can only be damage, and may be as long as the disk.
 */

import { maxLineBytes } from './event-line.ts';

export interface LinePiece {
  /** Without the line feed. Valid until the next piece is asked for. */
  readonly bytes: Buffer;
  readonly isStart: boolean;
  /** What comes after these bytes: a line feed, the end of the file, or more of the same line. */
  readonly next: 'lineFeed' | 'endOfFile' | 'more';
}

const lineFeed = 0x0a;

export class LineCutter {
  #rest = Buffer.alloc(0);
  #isStart = true;

  /** The pieces that this chunk completes. */
  *push(chunk: Buffer): Generator<LinePiece> {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (let end = bytes.indexOf(lineFeed); end !== -1; end = bytes.indexOf(lineFeed)) {
      yield { bytes: bytes.subarray(0, end), isStart: this.#isStart, next: 'lineFeed' };
      this.#isStart = true;
      bytes = bytes.subarray(end + 1);
    }
    if (bytes.length > maxLineBytes) {
      yield { bytes, isStart: this.#isStart, next: 'more' };
      this.#isStart = false;
      bytes = Buffer.alloc(0);
    }
    this.#rest = Buffer.from(bytes);
  }

  /** What is left when the file ends: nothing when it ends with a line feed. */
  *end(): Generator<LinePiece> {
    if (this.#rest.length === 0 && this.#isStart) return;
    yield { bytes: this.#rest, isStart: this.#isStart, next: 'endOfFile' };
  }
}
