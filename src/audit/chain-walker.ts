/**
 * Walks along the lines of an audit log and says whether they are one unbroken chain. Verification, opening and accepting all
 * use it, so what one refuses the others refuse too.
 *
 * Whatever is no record of the chain is a problem: a line that ends like a record and does not have the hash it states, a record
 * that does not follow the one before it, other bytes. It is not one any more where an operator has accepted just that
 * (`AuditAccepted`): then the chain goes on from what the record there says of itself, or from the record before other bytes.
 *
 * Former versions left an incomplete line where it was, and the next record accounts for it: an `AuditTornLine` with its length
 * and hash.
 */

import { createHash, type Hash, hash } from 'node:crypto';
import { chainStart, type Link, readLink } from './chain.ts';
import type { LinePiece } from './file-lines.ts';
import { readStatement } from './log-statement.ts';
import type { WrongBytes } from './statements.ts';

export interface ChainProblem extends WrongBytes {
  /** Counted from 1, from where the walk began. */
  readonly line: number;
  readonly what: string;
}

export interface WalkOptions {
  /** `anywhere`: the first whole record is believed to follow what was before it. */
  readonly from: 'start' | 'anywhere';
  /** Of the first byte, in the file. */
  readonly offset?: number;
  /** Whether the walk goes on all the same; absent: it never does. */
  readonly isAccepted?: (problem: ChainProblem) => boolean;
}

/** Bytes that are no record, up to where the walk is. */
interface Region {
  readonly line: number;
  readonly offset: number;
  readonly hash: Hash;
  bytes: number;
}

const lineFeed = Buffer.from('\n');

export class ChainWalker {
  readonly #isAccepted: (problem: ChainProblem) => boolean;
  #head: Link | undefined;
  #line = 0;
  /** Of the next piece. */
  #offset: number;
  #records = 0;
  #region: Region | undefined;
  #endOffset: number;
  #endsWithLineFeed = true;

  constructor({ from, offset = 0, isAccepted = () => false }: WalkOptions) {
    this.#head = from === 'start' ? chainStart : undefined;
    this.#offset = offset;
    this.#endOffset = offset;
    this.#isAccepted = isAccepted;
  }

  /** The last record; `undefined` when none was found yet and the walk began anywhere. */
  get head(): Link | undefined {
    return this.#head;
  }

  /** Where the last record ends, with its line feed. */
  get endOffset(): number {
    return this.#endOffset;
  }

  get records(): number {
    return this.#records;
  }

  get endsWithLineFeed(): boolean {
    return this.#endsWithLineFeed;
  }

  /** What is behind the last record. */
  end(): ChainProblem | undefined {
    const region = this.#region;
    return region === undefined ? undefined : problemOf(region, 'what is behind the last record is no record');
  }

  /** @returns What is wrong, for the first piece for which something is and is not accepted; the walk ends there. */
  take(piece: LinePiece): ChainProblem | undefined {
    if (piece.isStart) this.#line++;
    const { next, bytes } = piece;
    const offset = this.#offset;
    this.#offset += bytes.length + (next === 'lineFeed' ? 1 : 0);
    this.#endsWithLineFeed = next === 'lineFeed';
    const record = piece.isStart && next !== 'more' ? readLink(bytes) : undefined;
    if (record === undefined) {
      this.#takeOther(piece, offset);
      return undefined;
    }
    const before = this.#beforeRecord(bytes);
    if (before !== undefined && !this.#isAccepted(before)) return before;
    const what = this.#wrongWith(record, bytes);
    if (what !== undefined) {
      const problem = { line: this.#line, offset, bytes: bytes.length, sha256: hash('sha256', bytes), what };
      if (!this.#isAccepted(problem)) return problem;
    } else this.#records++;
    this.#region = undefined;
    this.#head = record.link;
    this.#endOffset = this.#offset;
    return undefined;
  }

  /** Counts the region's bytes and the line feeds inside it, not the one that ends it. */
  #takeOther({ bytes, isStart }: LinePiece, offset: number): void {
    if (this.#region === undefined) this.#region = { line: this.#line, offset, hash: createHash('sha256'), bytes: 0 };
    else if (isStart) this.#addOther(lineFeed);
    this.#addOther(bytes);
  }

  #addOther(bytes: Buffer): void {
    if (this.#region === undefined) return;
    this.#region.hash.update(bytes);
    this.#region.bytes += bytes.length;
  }

  /** What is between the last record and this one. */
  #beforeRecord(record: Buffer): ChainProblem | undefined {
    const region = this.#region;
    // Of a walk that began anywhere it may be the rest of a line.
    if (region === undefined || this.#head === undefined) return undefined;
    const torn = tornLineIn(record);
    if (torn?.bytes === region.bytes && torn.sha256 === region.hash.copy().digest('hex')) return undefined;
    return problemOf(region, 'this line is no record, and the next record does not account for it');
  }

  #wrongWith(record: NonNullable<ReturnType<typeof readLink>>, line: Buffer): string | undefined {
    if (!record.isIntact) return 'this record was changed: its bytes do not have the hash that it states';
    const head = this.#head;
    if (head === undefined) return undefined;
    if (this.#region === undefined && tornLineIn(line) !== undefined)
      return 'this record accounts for an incomplete line that is not there';
    const { sequence } = record.link;
    if (sequence !== head.sequence + 1) return `record ${sequence} stands where ${head.sequence + 1} has to follow`;
    if (record.previousHash !== head.hash)
      return `record ${sequence} does not follow the record before it: the hashes differ`;
    return undefined;
  }
}

function tornLineIn(line: Buffer) {
  const statement = readStatement(line);
  return statement !== undefined && 'tornLine' in statement ? statement.tornLine : undefined;
}

function problemOf({ line, offset, bytes, hash: region }: Region, what: string): ChainProblem {
  return { line, offset, bytes, sha256: region.copy().digest('hex'), what };
}
