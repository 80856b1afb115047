/**
 * What is known of each open connection, and how one is closed without losing its last answer.
 *
 * A connection that is refused in the middle of a request (too large, not HTTP, too slow) gets its answer, and is then
 * read for a little longer: a socket that is closed while the peer still sends answers with a reset, and many clients
 * then throw away the answer that explains why. How much longer is bounded in bytes and in time.
 */

import type { Socket } from 'node:net';
import type { ExchangeBudget } from '../kms/budgets.ts';
import type { Logger } from '../kms/logger.ts';
import type { Payer } from '../kms/payer.ts';
import type { Guest } from './admission/admission.ts';
import { PayerAccounts } from './payer-accounts.ts';
import { ReadingTurns } from './reading-turns.ts';
import { RequestGate } from './request-gate.ts';
import { UnreadAnswers } from './unread-answers.ts';

export interface Connection extends Guest {
  /** What HTTP is spoken on: of TLS, once its handshake is done, no longer the one that was accepted. */
  socket: Socket;
  lastUsedAtMs: number;
  /** Requests that were read completely and have no answer yet (a client may send many without waiting). */
  inFlight: number;
  /** Lets its requests begin. */
  readonly gate: RequestGate;
  /** What the client has not taken of its answers. */
  readonly unread: UnreadAnswers;
  /** Runs when `inFlight` comes to 0: what is to be written after all answers. */
  afterAnswers: (() => void) | undefined;
}

/** What a refused client may still send: more than any honest one has under way in a socket's buffers. */
const lingerBytes = 1024 * 1024;
const lingerMs = 2_000;

/** Those of all listeners of a daemon: what payers have under way is counted over all of them. */
export class Connections {
  readonly #log: Logger;
  readonly #accounts: PayerAccounts;
  readonly #turns: ReadingTurns;
  readonly #bySocket = new WeakMap<Socket, Connection>();

  constructor(budget: ExchangeBudget, log: Logger) {
    this.#log = log;
    this.#accounts = new PayerAccounts(budget);
    this.#turns = new ReadingTurns(budget.beginsPerTurn);
  }

  /** Of a socket that was accepted. */
  open(socket: Socket, payer: Payer): Connection {
    const account = this.#accounts.open(payer);
    const unread = new UnreadAnswers(account, {
      wasTaken: () => gate.wake(),
      cutOff: () => {
        this.#log.warn({ payer }, 'a connection is cut off, because too many bytes of answers were not taken');
        connection.socket.destroy();
      },
    });
    const gate: RequestGate = new RequestGate({
      account,
      turns: this.#turns,
      leave: () => this.#accounts.leave(account),
      hasTooMuchUnread: () => unread.isTooMuch,
    });
    socket.once('close', () => {
      gate.shut();
      unread.closed();
      this.#accounts.close(account);
    });
    const openedAtMs = performance.now();
    const connection: Connection = {
      socket,
      payer,
      gate,
      unread,
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

  /**
   * HTTP is spoken from now on.
   * @param socket Has its HTTP parser. Of TLS, it lies on the one that the connection had.
   */
  speakHttp(socket: Socket, connection: Connection): void {
    connection.socket = socket;
    this.#bySocket.set(socket, connection);
    connection.gate.attach(socket);
    connection.unread.attach(socket);
    socket.on('drain', () => connection.gate.wake());
  }

  /** `undefined` of one that was not taken. */
  find(socket: Socket): Connection | undefined {
    return this.#bySocket.get(socket);
  }

  /** Of a socket on which a request came. */
  of(socket: Socket): Connection {
    const connection = this.find(socket);
    if (connection === undefined) throw new TypeError('a request came on a connection that was not taken');
    return connection;
  }
}

/** All of a request was read. */
export function requestArrived(connection: Connection): void {
  connection.inFlight++;
  connection.gate.arrived();
  connection.lastUsedAtMs = performance.now();
}

/** @param bytes Those that were reserved for it. */
export function requestAnswered(connection: Connection, bytes: number): void {
  connection.inFlight--;
  connection.lastUsedAtMs = performance.now();
  connection.gate.answered(bytes);
  if (connection.inFlight === 0 && connection.afterAnswers !== undefined) {
    const { afterAnswers } = connection;
    connection.afterAnswers = undefined;
    afterAnswers();
  }
}

/** Writes a complete HTTP answer and closes; nothing that still arrives is looked at. */
export function answerAndClose({ socket, gate }: Connection, answer: string): void {
  gate.shut();
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
  gate.discard();
  socket.resume();
}
