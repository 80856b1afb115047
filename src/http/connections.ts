/**
 * What is known of each open connection, and how one is closed without losing its last answer.
 *
 * A connection that is refused in the middle of a request (too large, not HTTP, too slow) gets its answer, and is then
 * read for a little longer: a socket that is closed while the peer still sends answers with a reset, and many clients
 * then throw away the answer that explains why. How much longer is bounded in bytes and in time.
 */

import type { Socket } from 'node:net';
import { type Payer, unknownPayer } from '../kms/payer.ts';
import type { Guest } from './admission/admission.ts';

export interface Connection extends Guest {
  /** What HTTP is spoken on: of TLS, once its handshake is done, no longer the one that was accepted. */
  socket: Socket;
  lastUsedAtMs: number;
  /** Requests that were read completely and have no answer yet (a client may send many without waiting). */
  inFlight: number;
  /** Runs when `inFlight` comes to 0: what is to be written after all answers. */
  afterAnswers: (() => void) | undefined;
}

/**
 * How many unanswered requests one connection may have before it is not read any more. Enough to keep an HSM busy from
 * one client; a client that sends without waiting cannot fill the memory.
 */
const maxUnanswered = 128;

/** What a refused client may still send: more than any honest one has under way in a socket's buffers. */
const lingerBytes = 1024 * 1024;
const lingerMs = 2_000;

export class Connections {
  readonly #bySocket = new WeakMap<Socket, Connection>();

  open(socket: Socket, payer: Payer = unknownPayer): Connection {
    const openedAtMs = performance.now();
    const connection: Connection = {
      socket,
      payer,
      openedAtMs,
      lastUsedAtMs: openedAtMs,
      inFlight: 0,
      afterAnswers: undefined,
      bytesRead: () => connection.socket.bytesRead,
      close: () => void connection.socket.destroy(),
    };
    this.#bySocket.set(socket, connection);
    return connection;
  }

  /** The connection goes on in another socket, which lies on the one that it had. */
  moveTo(socket: Socket, connection: Connection): void {
    connection.socket = socket;
    this.#bySocket.set(socket, connection);
  }

  of(socket: Socket): Connection {
    return this.#bySocket.get(socket) ?? this.open(socket);
  }
}

/** All of a request was read. (Nothing is paused before: Node resumes a socket whenever somebody reads a body.) */
export function requestArrived(connection: Connection): void {
  connection.inFlight++;
  connection.lastUsedAtMs = performance.now();
  if (connection.inFlight >= maxUnanswered) connection.socket.pause();
}

export function requestAnswered(connection: Connection): void {
  connection.inFlight--;
  connection.lastUsedAtMs = performance.now();
  if (connection.inFlight === maxUnanswered / 2 && connection.socket.isPaused()) connection.socket.resume();
  if (connection.inFlight === 0 && connection.afterAnswers !== undefined) {
    const { afterAnswers } = connection;
    connection.afterAnswers = undefined;
    afterAnswers();
  }
}

/** Writes a complete HTTP answer and closes; nothing that still arrives is looked at. */
export function answerAndClose(socket: Socket, answer: string): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  let discardedBytes = 0;
  // Takes the connection away from Node's HTTP parser: a further request in it is not run.
  socket.removeAllListeners('data');
  socket.on('data', (piece: Buffer) => {
    discardedBytes += piece.length;
    piece.fill(0);
    if (discardedBytes > lingerBytes) socket.destroy();
  });
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  timer.unref();
  socket.once('close', () => clearTimeout(timer));
  socket.on('error', () => socket.destroy());
  socket.end(answer);
  socket.resume();
}
