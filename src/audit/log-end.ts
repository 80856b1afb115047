/**
 * The end of an audit log as a start finds it, and whether it can be gone on with.
 *
 * Only the last megabyte is verified, so that a start takes no longer with the years, and more where it does not say how the
 * metadata stands; the rest is `verifyAuditLog`'s. What the end may look like:
 *
 *   - whole: the next event follows it;
 *   - a whole record without its line feed: it gets one;
 *   - a torn end (`torn-end.ts`) behind what is known to have been synced: it is set aside;
 *   - anything else (a changed record, a gap, other bytes, a log that does not hold the head that was noted): the log was
 *     tampered with, and is refused by the name of the place. Going on would bury the evidence.
 *
 * What is known to have been synced is what the metadata noted under a MAC, and no line of the log says it: whoever can edit
 * the log can edit that too.
 */

import { hash } from 'node:crypto';
import { fstatSync, readSync } from 'node:fs';
import { AcceptedPlaces } from './accepted-places.ts';
import { AuditError } from './audit-error.ts';
import type { AuditHead, ChangesOnRecord } from './audit-log.ts';
import { type Link, readLink } from './chain.ts';
import { type ChainProblem, ChainWalker } from './chain-walker.ts';
import { maxLineBytes } from './event-line.ts';
import { LineCutter, type LinePiece } from './file-lines.ts';
import { mayHoldStatement } from './log-statement.ts';
import { placeText } from './place.ts';
import { StatedChanges } from './stated-changes.ts';
import { isTornEnd, maxTornBytes } from './torn-end.ts';

export interface LogEnd {
  /** The last record. */
  readonly head: Link;
  /** Where the next line goes, but for the line feed that this one may need. */
  readonly offset: number;
  /** What is there and has to be set aside; `null` for nothing. */
  readonly torn: Buffer | null;
  /** Whether the file's last line has no line feed. */
  readonly needsLineFeed: boolean;
  readonly changes: ChangesOnRecord;
  readonly accepted: AcceptedPlaces;
}

export interface LogFile {
  /** Open for reading. */
  readonly descriptor: number;
  /** For messages. */
  readonly path: string;
  /** The head that was noted last, if any was. */
  readonly noted?: AuditHead | undefined;
  /** Takes the end as it is, for whoever accepts a place of it. */
  readonly isAccepting?: boolean;
}

/** How much of the end is verified at first; four times as much for as long as no record and no statement is found in it. */
const tailBytes = 1024 * 1024;
/** What was logged in a second is less. */
const maxTailBytes = maxTornBytes;
const lineFeed = 0x0a;

/** @throws AuditError `damaged`, which names the place and what to do. */
export function readEnd(file: LogFile): LogEnd {
  const { size } = fstatSync(file.descriptor);
  for (let bytes = Math.min(size, tailBytes); ; bytes = Math.min(size, bytes * 4)) {
    const end = new Tail(file, size, bytes).walk();
    const isEnough = bytes === size || bytes >= maxTailBytes;
    if (end !== undefined && (isEnough || end.changes.store !== null)) return end;
    if (isEnough)
      throw new AuditError(
        'damaged',
        `the last ${bytes} bytes of the audit log \`${file.path}\` hold no record; keep the file as evidence, and move it away to begin a new log`,
      );
  }
}

class Tail {
  readonly #file: LogFile;
  readonly #size: number;
  readonly #bytes: Buffer;
  /** Of the first byte of the first line that is walked along. */
  readonly #offset: number;
  readonly #accepted = new AcceptedPlaces();
  /** Is not in the log where it has to be, and nobody has accepted that. */
  #missing: AuditHead | undefined;

  constructor(file: LogFile, size: number, bytes: number) {
    this.#file = file;
    this.#size = size;
    const tail = readFrom(file, size - bytes, bytes);
    // The first line of a part is most likely cut.
    const from = bytes === size ? 0 : tail.indexOf('\n') + 1 || bytes;
    this.#bytes = tail.subarray(from);
    this.#offset = size - bytes + from;
  }

  /** @returns `undefined` when no record was found. */
  walk(): LogEnd | undefined {
    this.#takeAccepted();
    const { noted, isAccepting: isLenient = false } = this.#file;
    if (noted !== undefined && !isLenient) this.#missing = findMissing(this.#file, noted, this.#accepted);
    const changes = new StatedChanges();
    const walker = new ChainWalker({
      from: this.#offset === 0 ? 'start' : 'anywhere',
      offset: this.#offset,
      isAccepted: (problem) => isLenient || this.#accepted.holds(problem),
    });
    for (const piece of this.#pieces()) {
      const before = walker.records;
      const problem = walker.take(piece);
      if (problem !== undefined) throw this.#tamperedWith(problem);
      if (walker.records > before) changes.take(piece.bytes);
    }
    const { head } = walker;
    if (head === undefined) return undefined;
    const torn = this.#tornEnd(walker.end());
    if (this.#missing !== undefined) throw this.#tamperedWith(placeOfMissing(this.#file, this.#missing));
    const found = changes.found();
    return {
      head,
      offset: torn === null ? this.#size : walker.endOffset,
      torn,
      needsLineFeed: torn === null && !walker.endsWithLineFeed,
      changes: {
        ...found,
        has: (intentId) => found.has(intentId) || holdsText(this.#file, `"intent":{"id":"${intentId}"}`),
      },
      accepted: this.#accepted,
    };
  }

  *#pieces(): Generator<LinePiece> {
    const cutter = new LineCutter();
    yield* cutter.push(this.#bytes);
    yield* cutter.end();
  }

  #takeAccepted(): void {
    if (!mayHoldStatement(this.#bytes)) return;
    for (const { bytes, isStart, next } of this.#pieces()) {
      if (isStart && next !== 'more' && mayHoldStatement(bytes) && readLink(bytes)?.isIntact)
        this.#accepted.take(bytes);
    }
  }

  #tornEnd(end: ChainProblem | undefined): Buffer | null {
    if (end === undefined || this.#accepted.holds(end)) return null;
    const bytes = this.#bytes.subarray(end.offset - this.#offset);
    const { noted } = this.#file;
    const synced = noted === undefined || this.#accepted.holdsMissing(noted) ? 0 : noted.bytes;
    if (end.offset >= synced && isTornEnd(bytes)) return bytes;
    if (this.#file.isAccepting) return null;
    throw this.#tamperedWith(end);
  }

  #tamperedWith({ offset, what }: Omit<ChainProblem, 'line'>): AuditError {
    return tamperedWith(this.#file, offset, what, this.#missing);
  }
}

/** As `AuditLog.holds`. */
export function holds(file: LogFile, noted: AuditHead, accepted: AcceptedPlaces): boolean {
  const missing = findMissing(file, noted, accepted);
  if (missing === undefined) return !accepted.holdsMissing(noted);
  const { offset, what } = placeOfMissing(file, missing);
  throw tamperedWith(file, offset, what, missing);
}

/** The noted head, if the log has another record at its place or none, and nobody has accepted that. */
function findMissing(file: LogFile, noted: AuditHead, accepted: AcceptedPlaces): AuditHead | undefined {
  if (noted.bytes === 0 || accepted.holdsMissing(noted)) return undefined;
  const line = noted.bytes > fstatSync(file.descriptor).size ? undefined : lineEndingAt(file, noted.bytes);
  const link = line === undefined ? undefined : readLink(line)?.link;
  return link?.sequence === noted.sequence && link.hash === noted.hash ? undefined : noted;
}

function placeOfMissing(file: LogFile, { bytes, sequence }: AuditHead): Omit<ChainProblem, 'line'> {
  const none = { bytes: 0, sha256: hash('sha256', '') };
  const noted = `the metadata noted record ${sequence}`;
  const { size } = fstatSync(file.descriptor);
  if (bytes > size) return { ...none, offset: size, what: `the log ends here, and ${noted} behind this` };
  const line = lineEndingAt(file, bytes);
  const offset = line === undefined ? bytes : bytes - line.length - 1;
  return { ...none, offset, what: `${noted} at this place, and another one is here` };
}

/** @returns The line without its line feed; `undefined` where none ends. */
function lineEndingAt(file: LogFile, offset: number): Buffer | undefined {
  const from = Math.max(0, offset - maxLineBytes);
  const bytes = readFrom(file, from, offset - from);
  if (bytes.at(-1) !== lineFeed) return undefined;
  return bytes.subarray(bytes.lastIndexOf(lineFeed, -2) + 1, -1);
}

function tamperedWith(file: LogFile, offset: number, what: string, missing: AuditHead | undefined): AuditError {
  const line = countLines(file, offset) + 1;
  const text = placeText({ line, offset, ...(missing === undefined ? {} : { missing }) });
  return new AuditError(
    'damaged',
    `the audit log \`${file.path}\` was tampered with or damaged at line ${line}, byte ${offset}: ${what}; keep a copy of the file and find out what happened; \`drawbridge audit accept --at ${text}\` puts on record that it is gone on with`,
  );
}

function readFrom({ descriptor, path }: LogFile, offset: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  let read = 0;
  while (read < bytes) {
    const count = readSync(descriptor, buffer, read, bytes - read, offset + read);
    if (count === 0) throw new AuditError('damaged', `the audit log \`${path}\` became shorter while it was read`);
    read += count;
  }
  return buffer;
}

const chunkBytes = 1024 * 1024;

/** Anywhere in the file; for what the end does not hold. */
function holdsText(file: LogFile, text: string): boolean {
  const { size } = fstatSync(file.descriptor);
  for (let from = 0; from < size; from += chunkBytes) {
    if (readFrom(file, from, Math.min(chunkBytes + text.length, size - from)).includes(text)) return true;
  }
  return false;
}

/** Of the part before this offset. */
function countLines(file: LogFile, offset: number): number {
  let lines = 0;
  for (let from = 0; from < offset; from += chunkBytes) {
    const chunk = readFrom(file, from, Math.min(chunkBytes, offset - from));
    for (let at = chunk.indexOf(lineFeed); at !== -1; at = chunk.indexOf(lineFeed, at + 1)) lines++;
  }
  return lines;
}
