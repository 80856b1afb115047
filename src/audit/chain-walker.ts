/**
 * Walks along the lines of an audit log and says whether they are one unbroken chain. Verification and opening both use
 * it, so what one refuses the other refuses too.
 *
 * Between two records there may be a torn region: bytes of a record that was not completely written, because the daemon
 * died or the disk was full. The next record must account for it: an `AuditTornLine` with its length and hash. A line
 * that ends like a record but does not have the hash it states was changed, and nothing accounts for that.
 */

import { createHash, type Hash } from 'node:crypto';
import { chainStart, type Link, readLink } from './chain.ts';
import { readTornLine } from './event-line.ts';
import type { LinePiece } from './file-lines.ts';

export interface ChainProblem {
  /** Counted from 1. */
  readonly line: number;
  readonly what: string;
}

const lineFeed = Buffer.from('\n');

export class ChainWalker {
  #head: Link | undefined;
  #line = 0;
  #records = 0;
  #torn: { readonly firstLine: number; readonly hash: Hash; bytes: number } | undefined;
  #endsWithLineFeed = true;

  /** @param from `anywhere`: the first whole record is believed to follow what was before it. */
  constructor(from: 'start' | 'anywhere') {
    this.#head = from === 'start' ? chainStart : undefined;
  }

  /** The last record; `undefined` when none was found yet and the walk began anywhere. */
  get head(): Link | undefined {
    return this.#head;
  }

  get records(): number {
    return this.#records;
  }

  get endsWithLineFeed(): boolean {
    return this.#endsWithLineFeed;
  }

  /** What is behind the last record, not accounted for yet. */
  tornEnd(): { readonly bytes: number; readonly hash: Hash; readonly firstLine: number } | undefined {
    return this.#torn;
  }

  /** @returns What is wrong, for the first piece for which something is; the walk ends there. */
  take(piece: LinePiece): ChainProblem | undefined {
    if (piece.isStart) this.#line++;
    this.#endsWithLineFeed = piece.next === 'lineFeed';
    const record = piece.isStart && piece.next !== 'more' ? readLink(piece.bytes) : undefined;
    if (record === undefined) {
      this.#takeTorn(piece);
      return undefined;
    }
    if (!record.isIntact)
      return this.#problem('this record was changed: its bytes do not have the hash that it states');
    if (this.#head !== undefined) {
      const problem = this.#doesNotAccount(piece.bytes) ?? this.#doesNotFollow(record, this.#head);
      if (problem !== undefined) return problem;
    }
    this.#torn = undefined;
    this.#head = record.link;
    this.#records++;
    return undefined;
  }

  /** Counts the region's bytes and the line feeds inside it, not the one that ends it. */
  #takeTorn({ bytes, isStart }: LinePiece): void {
    if (this.#torn === undefined) this.#torn = { firstLine: this.#line, hash: createHash('sha256'), bytes: 0 };
    else if (isStart) this.#addTorn(lineFeed);
    this.#addTorn(bytes);
  }

  #addTorn(bytes: Buffer): void {
    if (this.#torn === undefined) return;
    this.#torn.hash.update(bytes);
    this.#torn.bytes += bytes.length;
  }

  #doesNotFollow(record: { readonly link: Link; readonly previousHash: string }, head: Link): ChainProblem | undefined {
    if (record.link.sequence !== head.sequence + 1) {
      return this.#problem(`record ${record.link.sequence} stands where ${head.sequence + 1} has to follow`);
    }
    if (record.previousHash !== head.hash) {
      return this.#problem(`record ${record.link.sequence} does not follow the record before it: the hashes differ`);
    }
    return undefined;
  }

  #doesNotAccount(line: Buffer): ChainProblem | undefined {
    const stated = readTornLine(line);
    const torn = this.#torn;
    if (stated?.bytes === torn?.bytes && stated?.sha256 === torn?.hash.copy().digest('hex')) return undefined;
    if (torn === undefined) return this.#problem('this record accounts for an incomplete line that is not there');
    return { line: torn.firstLine, what: 'this line is no record, and the next record does not account for it' };
  }

  #problem(what: string): ChainProblem {
    return { line: this.#line, what };
  }
}
