/** What becomes of a connection that a listener accepts: refused, or the front's, or `node:http`'s, over TLS behind a handshake. */

import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { SocketExclusion } from '../identity/socket-exclusion.ts';
import type { Wire } from './exchange.ts';
import { Front } from './front/front.ts';
import { frontParts } from './front-of-wire.ts';
import type { Handshakes } from './tls-server.ts';

export interface Acceptance {
  /** Of a Unix socket. */
  readonly exclusion: SocketExclusion | undefined;
  /** Of TLS: what has only begun. */
  readonly handshakes: Handshakes | undefined;
  readonly hasFront: boolean;
}

/**
 * Takes the place of the listener with which Node's HTTP server makes a parser for each connection: whoever is refused costs none.
 * (Not `maxConnections` of the server: Node would drop a connection without a look at whose it is.)
 * @returns The front, which has to be closed with the server.
 */
export function acceptConnections(
  server: Server,
  wire: Wire,
  { exclusion, handshakes, hasFront }: Acceptance,
): Front | undefined {
  const [serve] = server.listeners('connection');
  server.removeAllListeners('connection');
  const front = hasFront
    ? new Front(
        frontParts(wire, (connection, bytes) => {
          const { socket } = connection;
          serve?.call(server, socket);
          wire.connections.speakHttp(socket, connection).receive(bytes);
        }),
      )
    : undefined;
  server.on('connection', (socket: Socket) => {
    const payer = wire.authentication.accepted(socket);
    if (handshakes?.mayBegin(payer) === false || wire.admission.refusal(payer) !== undefined) {
      const uid = wire.authentication.uidOf(socket);
      if (uid !== undefined) exclusion?.refused(uid);
      socket.destroy();
      return;
    }
    const connection = wire.connections.open(socket, payer);
    wire.admission.enter(connection);
    socket.once('close', () => wire.admission.leave(connection));
    handshakes?.begin(connection);
    if (front?.serve(connection) === true) return;
    serve?.call(server, socket);
    if (handshakes === undefined) wire.connections.speakHttp(socket, connection);
  });
  return front;
}
