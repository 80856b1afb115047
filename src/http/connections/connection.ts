/**
 * What is known of one open connection, and how it is closed without losing its last answer.
 *
 * A connection that is refused in the middle of a request (too large, not HTTP, too slow) gets its answer, and is then
 * read for a little longer: a socket that is closed while the peer still sends answers with a reset, and many clients
 * then throw away the answer that explains why. How much longer is bounded in bytes and in time.
 */

import type { Socket } from 'node:net';
import type { Payer } from '../../kms/payer.ts';
import { redirect } from '../../secrets/shared-reading.ts';
import type { Guest } from '../admission/admission.ts';
import type { StayingAwake } from './staying-awake.ts';
import type { RequestsUnderWay } from './under-way.ts';
import type { UnreadAnswers } from './unread-answers.ts';

/** Whatever has the bytes that a connection's client sends: the front, or the gate before Node's parser. */
export interface Reader {
  /** Does something wait that was read? */
  readonly isHolding: boolean;
  /** Something has changed for the better: another request may begin. */
  wake(): void;
  /** No further request begins, and the connection is not read until `discard`. */
  shut(): void;
  /** What still arrives on a connection that is shut is read and zeroed. */
  discard(): void;
}

const nobody: Reader = { isHolding: false, wake() {}, shut() {}, discard() {} };

export class Connection implements Guest {
  readonly payer: Payer;
  readonly underWay: RequestsUnderWay;
  /** What the client has not taken of its answers. */
  readonly unread: UnreadAnswers;
  readonly openedAtMs = performance.now();
  lastUsedAtMs = this.openedAtMs;
  /** What HTTP is spoken on: of TLS, once its handshake is done, no longer the one that was accepted. */
  socket: Socket;
  /** Requests that were read completely and have no answer yet (a client may send many without waiting). */
  inFlight = 0;
  reader: Reader = nobody;
  /** Its last request was refused before it was all there, and nothing behind it is looked at. */
  isRefused = false;
  readonly #awake: StayingAwake;
  #afterAnswers: (() => void) | undefined;

  constructor(socket: Socket, underWay: RequestsUnderWay, unread: UnreadAnswers, awake: StayingAwake) {
    this.#awake = awake;
    this.socket = socket;
    this.payer = underWay.account.payer;
    this.underWay = underWay;
    this.unread = unread;
  }

  bytesRead(): number {
    return this.socket.bytesRead;
  }

  close(): void {
    this.socket.destroy();
  }

  /** All of a request was read. */
  requestArrived(): void {
    this.inFlight++;
    this.lastUsedAtMs = performance.now();
    this.#awake.arrived(this.lastUsedAtMs);
  }

  /** The answer to one that had arrived was given to the socket. */
  requestAnswered(): void {
    this.inFlight--;
    this.lastUsedAtMs = performance.now();
    this.#awake.answered(this.lastUsedAtMs);
    this.answersWereTaken();
  }

  /** Calls `write` behind all answers. Those that Node keeps for one before them would else come after it, and to nobody. */
  writeAfterAnswers(write: () => void): void {
    this.#afterAnswers = write;
    this.answersWereTaken();
  }

  /** As far as they were given to somebody. */
  answersWereTaken(): void {
    if (this.#afterAnswers === undefined || this.inFlight > 0 || this.unread.bytes > 0) return;
    const write = this.#afterAnswers;
    this.#afterAnswers = undefined;
    write();
  }
}

/** What a refused client may still send: more than any honest one has under way in a socket's buffers. */
const lingerBytes = 1024 * 1024;
const lingerMs = 2_000;

/** Writes a complete HTTP answer and closes; nothing that still arrives is looked at. */
export function answerAndClose({ socket, reader }: Connection, answer: string): void {
  reader.shut();
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  let discardedBytes = 0;
  const discard = (lengthBytes: number): void => {
    discardedBytes += lengthBytes;
    if (discardedBytes > lingerBytes) socket.destroy();
  };
  // Takes the connection away from Node's HTTP parser: a further request in it is not run.
  socket.removeAllListeners('data');
  socket.on('data', (piece: Buffer) => {
    piece.fill(0);
    discard(piece.length);
  });
  redirect(socket, (_bytes, lengthBytes) => discard(lengthBytes));
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  timer.unref();
  socket.once('close', () => clearTimeout(timer));
  socket.on('error', () => socket.destroy());
  socket.end(answer);
  reader.discard();
  socket.resume();
}
