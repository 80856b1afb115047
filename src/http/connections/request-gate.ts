/**
 * Stands between a connection's socket and Node's HTTP parser, and decides when the next request may begin.
 *
 * Node parses whatever was read, all of it at once, and makes objects of some kilobytes for each request: 64 KB hold more than
 * 3,000 of the smallest, and pausing a socket comes too late for what is read already. So the parser's listener is taken off
 * the socket, and gets from here pieces that begin two requests at most. What is the first of a chunk is handed over at once,
 * and mostly that is all of it. Before more is asked: has the connection few enough requests without an answer, has its payer,
 * and were its answers taken? If so the next piece has its turn (`reading-turns.ts`); if not, it waits for one of those. The
 * rest is held, unparsed, and the socket is not read meanwhile: so 64 KB are held of a connection at most.
 *
 * Who sends one request at a time is never held up. A request that has begun is always read to its end.
 *
 * Nothing is parsed here. The parser is strict: no headers end without CR LF CR LF. So a piece that ends behind the first of
 * these begins one request, and another one if such an end began in the bytes before. A body of declared length is a piece of its
 * own. What is cut where no headers end costs a call of the parser and changes nothing.
 *
 * What was handed over is zeroed: requests carry plaintexts, and the parser has made copies of what it needs (of which bodies
 * are wiped where they are used).
 *
 * Source: RFC 9112, sections 2.1, 6.3 and 7.1.
 */

import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { redirect, startReading, stopReading } from '../../secrets/shared-reading.ts';
import type { Reader } from './connection.ts';
import type { PayerAccount } from './payer-accounts.ts';
import type { ReadingTurns, Waiting } from './reading-turns.ts';
import type { RequestsUnderWay } from './under-way.ts';

type TakeChunk = (chunk: Buffer) => void;

export interface GateParts {
  readonly underWay: RequestsUnderWay;
  readonly turns: ReadingTurns;
  /** Have the client's answers to be taken before another request begins? */
  readonly hasTooMuchUnread: () => boolean;
}

const nothing = Buffer.alloc(0);
const headersEnd = Buffer.from('\r\n\r\n');

export class RequestGate implements Waiting, Reader {
  readonly account: PayerAccount;
  readonly #parts: GateParts;
  /** Once HTTP is spoken. */
  #socket: Socket | undefined;
  #parse: TakeChunk = () => undefined;
  #held: Buffer = nothing;
  #isStopped = false;
  #isInRow = false;
  #isShut = false;
  /** The request that began last. */
  #last: IncomingMessage | undefined;
  /** Of its body, as far as it was declared: what is still to come, and a little more where that is not known. */
  #bodyBytes = 0;
  /** How many began and were not taken by whoever runs them. */
  #arriving = 0;
  #isParsing = false;
  #afterPiece: (() => void)[] = [];

  constructor(parts: GateParts) {
    this.#parts = parts;
    this.account = parts.underWay.account;
  }

  /** Takes the place of the listener that Node's HTTP server has put on the socket, which is new. */
  attach(socket: Socket): void {
    this.#socket = socket;
    const [parse] = socket.listeners('data');
    if (typeof parse !== 'function') throw new TypeError('a socket has no HTTP parser');
    // Node's own, which takes what the socket has read.
    this.#parse = parse as TakeChunk;
    socket.removeListener('data', this.#parse);
    socket.on('data', (chunk: Buffer) => this.receive(chunk));
    // Of one that the front had: bytes of others are in memory of their own already.
    redirect(socket, (bytes, lengthBytes) => {
      const chunk = Buffer.allocUnsafeSlow(lengthBytes);
      bytes.copy(chunk, 0, 0, lengthBytes);
      this.receive(chunk);
    });
    // Node has paused it for reasons of its own, and goes on.
    socket.on('resume', () => this.wake());
  }

  /** The parser has found the headers of a request. */
  begin(message: IncomingMessage): void {
    this.#last = message;
    this.#arriving++;
    this.#parts.underWay.begin();
  }

  /** All of a request is there, and whoever runs it has it. */
  arrived(): void {
    this.#arriving--;
  }

  /** Is `message` the one request of the connection that has begun and is not run? Requests are run in their order. */
  isNext(message: IncomingMessage): boolean {
    return this.#arriving === 1 && this.#last === message;
  }

  /** Is there nothing of a request behind `message`? */
  isLast(message: IncomingMessage): boolean {
    return this.#last === message && this.#held.length === 0;
  }

  /** Does something wait that was read? */
  get isHolding(): boolean {
    return this.#held.length > 0;
  }

  /**
   * The request has its answer, or there is nobody who could have it: another may begin.
   * @param bytes Those that were reserved for it.
   */
  answered(bytes: number): void {
    this.#parts.underWay.answered(bytes);
    if (this.#parts.underWay.count === 0) this.#last = undefined;
    this.wake();
  }

  /** As `answered`, of a request that did not arrive completely. */
  gone(bytes: number): void {
    this.#arriving--;
    this.answered(bytes);
  }

  /** @returns Whether there is room for so many bytes of a body, which are counted until it has its answer. */
  reserve(bytes: number): boolean {
    return this.#parts.underWay.reserve(bytes);
  }

  /** Runs `then` when what is there of the request that has begun was parsed: all of its body, or all that was read. */
  afterPiece(then: () => void): void {
    if (this.#isParsing) this.#afterPiece.push(then);
    else then();
  }

  /** Something has changed for the better. */
  wake(): void {
    if (this.#held.length === 0 || this.#isInRow || !this.#mayBegin()) return;
    this.#isInRow = true;
    this.#parts.turns.wait(this);
  }

  takeTurn(): void {
    this.#isInRow = false;
    if (!this.#isShut && this.#mayBegin()) this.#handOver(this.#held);
  }

  /** Nothing of the connection is parsed any more, and it is not read until `discard`. */
  shut(): void {
    this.#isShut = true;
    this.#settle();
  }

  /** What still arrives on a connection that is shut is read and zeroed. */
  discard(): void {
    this.#read();
  }

  /** @param chunk Memory of its own, which is zeroed once it was parsed. */
  receive(chunk: Buffer): void {
    if (this.#isShut) {
      chunk.fill(0);
    } else if (this.#held.length === 0 && this.#mayBegin()) {
      this.#handOver(chunk);
    } else {
      const before = this.#held;
      this.#held = before.length === 0 ? chunk : Buffer.concat([before, chunk]);
      if (before.length > 0) {
        before.fill(0);
        chunk.fill(0);
      }
      this.#settle();
    }
  }

  /** Has the next request parsed, as far as it is there, and holds the rest. */
  #handOver(bytes: Buffer): void {
    this.#parsePiece(bytes);
    while (this.#bodyBytes > 0 && this.#held.length > 0 && !this.#isShut && this.#socket?.isPaused() !== true) {
      this.#parsePiece(this.#held);
    }
    this.#settle();
  }

  #parsePiece(bytes: Buffer): void {
    const endsAt = this.#bodyBytes > 0 ? -1 : headersEndAt(bytes, 0);
    const isMore = endsAt >= 0 && headersEndAt(bytes, endsAt) >= 0;
    const piece = bytes.subarray(0, this.#bodyBytes > 0 ? this.#bodyBytes : isMore ? endsAt : bytes.length);
    this.#held = bytes.subarray(piece.length);
    const before = this.#last;
    const behindHeaders = endsAt < 0 || mayEndHeadersBefore(piece) ? piece.length : piece.length - endsAt;
    this.#isParsing = true;
    this.#parse(piece);
    this.#isParsing = false;
    this.#countBody(piece.length, before, behindHeaders);
    piece.fill(0);
    if (this.#afterPiece.length === 0) return;
    const callbacks = this.#afterPiece;
    this.#afterPiece = [];
    for (const then of callbacks) then();
  }

  /**
   * What is thought too little costs more pieces, and what is thought too much would let requests behind the body through at once.
   * @param behindHeaders So many bytes of the piece at most are behind the end of its headers.
   */
  #countBody(pieceBytes: number, before: IncomingMessage | undefined, behindHeaders: number): void {
    const last = this.#last;
    if (last === undefined || last.complete) {
      this.#bodyBytes = 0;
    } else if (last === before) {
      this.#bodyBytes = Math.max(0, this.#bodyBytes - pieceBytes);
    } else {
      // A declared length was checked by the parser; a body in chunks has none, and ends as headers do.
      const declaredBytes = Number(last.headers['content-length'] ?? 0);
      this.#bodyBytes = Math.max(0, declaredBytes - behindHeaders);
    }
  }

  #mayBegin(): boolean {
    if (this.#socket?.isPaused() === true) return false;
    if (this.#last?.complete === false) return true;
    if (this.#parts.hasTooMuchUnread()) return false;
    return this.#parts.underWay.mayBegin();
  }

  /** Reads, or not, as something is held or not; what is held waits for its turn. */
  #settle(): void {
    if (this.#held.length > 0 && (this.#isShut || this.#socket?.destroyed)) {
      this.#held.fill(0);
      this.#held = nothing;
    }
    if (this.#held.length > 0 || this.#isShut) this.#stopReading();
    else this.#read();
    this.wake();
  }

  #stopReading(): void {
    this.#isStopped = true;
    if (this.#socket !== undefined) stopReading(this.#socket);
  }

  #read(): void {
    if (!this.#isStopped) return;
    this.#isStopped = false;
    if (this.#socket !== undefined) startReading(this.#socket);
  }
}

/** May headers that began before it end with its first bytes? What looks like their end further on may be of a body then. */
function mayEndHeadersBefore(piece: Buffer): boolean {
  return piece[0] === 0x0a || (piece[0] === 0x0d && piece[1] === 0x0a);
}

/** Where the first headers that end behind `from` are over, or -1. */
function headersEndAt(bytes: Buffer, from: number): number {
  const at = bytes.indexOf(headersEnd, from);
  return at < 0 ? -1 : at + headersEnd.length;
}
