/**
 * The open connections of all listeners of a daemon: which one a socket is, and who reads it. What payers have under way is
 * counted over all of them.
 */

import type { Socket } from 'node:net';
import type { ExchangeBudget } from '../../kms/budgets.ts';
import type { Logger } from '../../kms/logger.ts';
import type { Payer } from '../../kms/payer.ts';
import { Connection } from './connection.ts';
import { PayerAccounts } from './payer-accounts.ts';
import { ReadingTurns } from './reading-turns.ts';
import { RequestGate } from './request-gate.ts';
import { StayingAwake } from './staying-awake.ts';
import { RequestsUnderWay } from './under-way.ts';
import { UnreadAnswers } from './unread-answers.ts';

export class Connections {
  /** When requests are begun that clients have sent without waiting. */
  readonly turns: ReadingTurns;
  readonly awake = new StayingAwake();
  readonly #log: Logger;
  readonly #accounts: PayerAccounts;
  readonly #bySocket = new WeakMap<Socket, Connection>();

  constructor(budget: ExchangeBudget, log: Logger) {
    this.#log = log;
    this.#accounts = new PayerAccounts(budget);
    this.turns = new ReadingTurns(budget.beginsPerTurn);
  }

  /** Of a socket that was accepted. */
  open(socket: Socket, payer: Payer): Connection {
    const account = this.#accounts.open(payer);
    const unread = new UnreadAnswers(account, {
      wasTaken: () => {
        connection.reader.wake();
        connection.answersWereTaken();
      },
      cutOff: () => {
        this.#log.warn({ payer }, 'a connection is cut off, because too many bytes of answers were not taken');
        connection.socket.destroy();
      },
    });
    const underWay = new RequestsUnderWay(account, this.#accounts);
    const connection: Connection = new Connection(socket, underWay, unread, this.awake);
    socket.once('close', () => {
      connection.reader.shut();
      unread.closed();
      this.#accounts.close(account);
    });
    this.#bySocket.set(socket, connection);
    return connection;
  }

  /**
   * Node's parser has the connection from now on, behind a gate.
   * @param socket Has its HTTP parser. Of TLS, it lies on the one that the connection had.
   */
  speakHttp(socket: Socket, connection: Connection): RequestGate {
    connection.socket = socket;
    this.#bySocket.set(socket, connection);
    const { underWay, unread } = connection;
    const gate = new RequestGate({ underWay, turns: this.turns, hasTooMuchUnread: () => unread.isTooMuch });
    connection.reader = gate;
    gate.attach(socket);
    unread.attach(socket);
    socket.on('drain', () => gate.wake());
    return gate;
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

/** Of a connection on which Node's parser found a request. */
export function gateOf({ reader }: Connection): RequestGate {
  if (reader instanceof RequestGate) return reader;
  throw new TypeError('a request came on a connection that has no parser');
}
