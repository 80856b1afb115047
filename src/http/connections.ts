/**
 * What is known of each open connection, and how one is closed without losing its last answer.
 *
 * A connection that is refused in the middle of a request (too large, not HTTP, too slow) gets its answer, and is then
 * read for a little longer: a socket that is closed while the peer still sends answers with a reset, and many clients
 * then throw away the answer that explains why. How much longer is bounded in bytes and in time.
 */

import type { Socket } from 'node:net';
import type { WireLimits } from './wire-limits.ts';

export interface Connection {
  readonly socket: Socket;
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

  open(socket: Socket): Connection {
    const connection: Connection = { socket, inFlight: 0, afterAnswers: undefined };
    this.#bySocket.set(socket, connection);
    return connection;
  }

  of(socket: Socket): Connection {
    return this.#bySocket.get(socket) ?? this.open(socket);
  }
}

/** Whose a connection is, as far as the kernel says. */
export interface ConnectionOwner {
  /** `uid 1000` */
  readonly name: string;
  readonly isOperator: boolean;
}

/** How many connections there are, and how many each user has. */
export class ConnectionCounts {
  readonly #limits: WireLimits;
  readonly #counts = new Map<string, number>();
  #total = 0;

  constructor(limits: WireLimits) {
    this.#limits = limits;
  }

  /**
   * Counts the connection until it closes, unless it is one too many.
   * @returns Of whom there are too many, `all` or a name; `undefined` when it was admitted.
   */
  refusal(owner: ConnectionOwner | undefined, socket: Socket): string | undefined {
    const { maxConnections, maxConnectionsPerUser, reservedConnections } = this.#limits;
    const max = maxConnections + (owner?.isOperator === true ? reservedConnections : 0);
    if (this.#total >= max) return 'all';
    if (owner !== undefined && (this.#counts.get(owner.name) ?? 0) >= maxConnectionsPerUser) return owner.name;
    this.#add(owner, 1);
    socket.once('close', () => this.#add(owner, -1));
    return undefined;
  }

  #add(owner: ConnectionOwner | undefined, count: 1 | -1): void {
    this.#total += count;
    if (owner === undefined) return;
    const sum = (this.#counts.get(owner.name) ?? 0) + count;
    if (sum === 0) this.#counts.delete(owner.name);
    else this.#counts.set(owner.name, sum);
  }
}

/** All of a request was read. (Nothing is paused before: Node resumes a socket whenever somebody reads a body.) */
export function requestArrived(connection: Connection): void {
  connection.inFlight++;
  if (connection.inFlight >= maxUnanswered) connection.socket.pause();
}

export function requestAnswered(connection: Connection): void {
  connection.inFlight--;
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
