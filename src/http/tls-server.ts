/**
 * HTTPS: the same server as for plain HTTP, behind TLS 1.2 or 1.3 with an operator's certificate.
 *
 * A connection is somebody's from the moment that it is accepted: `Connections` knows it by its TCP socket while the handshake
 * runs, and by TLS's socket from then on. A handshake that takes too long is cut. What is offered beside is nothing: HTTP/1.1
 * alone, no client certificates (requests are signed), no renegotiation, no cipher suite without forward secrecy and
 * authenticated encryption.
 *
 * INVARIANT: the private key is in OpenSSL's memory and nowhere else of ours: the text that it was read from is wiped as soon as
 * it is loaded. (It is in this process: with Node.js, TLS has no other place for it.)
 *
 * Accepted: what was decrypted last is on the stack of the main thread until something else was (`TLSWrap::ClearOut` of Node.js reads
 * 16 KB into an array there). What it hands on is wiped as on any other listener. The Unix socket and the loopback address leave nothing.
 *
 * Source: RFC 9325 for the versions and suites.
 */

import { constants } from 'node:crypto';
import type { RequestListener, Server, ServerOptions } from 'node:http';
import { createServer } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Payer } from '../kms/payer.ts';
import type { Secret } from '../secrets/secret-bytes.ts';
import type { HandshakeBudget } from './admission/handshake-budget.ts';
import type { Connection } from './connections/connection.ts';
import type { Connections } from './connections/connections.ts';

/** What a TLS server proves with who it is. */
export interface TlsIdentity {
  /** PEM: the server's certificate, and those between it and its authority. */
  readonly certificates: string;
  /** PEM. Whoever loads it wipes it. */
  readonly privateKey: Secret;
}

const cipherSuites = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

export interface TlsServer {
  readonly server: Server;
  /** For handshakes from now on; connections go on as they are. @throws Error of OpenSSL; then nothing has changed. */
  useIdentity(identity: TlsIdentity): void;
}

/** @throws Error of OpenSSL, when it cannot use the certificate or the key. */
export function createTlsServer(identity: TlsIdentity, options: ServerOptions, route: RequestListener): TlsServer {
  const server = loadAndWipe(identity, (context) =>
    // The first headers have to be there in that time, and so has what comes before them.
    createServer({ ...options, ...context, handshakeTimeout: options.headersTimeout }, route),
  );
  return {
    server,
    useIdentity: (renewed) => loadAndWipe(renewed, (context) => server.setSecureContext(context)),
  };
}

function loadAndWipe<Result>(
  { certificates, privateKey }: TlsIdentity,
  load: (context: ReturnType<typeof contextOptions>) => Result,
): Result {
  try {
    return load(contextOptions(certificates, privateKey));
  } finally {
    privateKey.wipe();
  }
}

function contextOptions(cert: string, privateKey: Secret) {
  return {
    cert,
    key: privateKey.reveal(),
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.3',
    ciphers: cipherSuites,
    honorCipherOrder: true,
    // Each costs what a handshake costs, and no budget would be asked.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  } as const;
}

/** The TCP connections of which the handshake is not done, and what becomes of them. */
export class Handshakes {
  readonly #connections: Connections;
  readonly #budget: HandshakeBudget;
  readonly #pending = new Map<string, Connection>();

  constructor(server: Server, connections: Connections, budget: HandshakeBudget) {
    this.#connections = connections;
    this.#budget = budget;
    server.on('secureConnection', (socket: TLSSocket) => this.#complete(socket));
  }

  mayBegin(payer: Payer): boolean {
    return this.#budget.take(payer);
  }

  begin(connection: Connection): void {
    const { socket } = connection;
    const place = placeOf(socket);
    this.#pending.set(place, connection);
    socket.once('close', () => {
      if (this.#pending.get(place) === connection) this.#pending.delete(place);
    });
  }

  /** Nothing of theirs was asked for yet, so nobody waits for an answer. */
  cut(): void {
    for (const { socket } of this.#pending.values()) socket.destroy();
  }

  #complete(socket: TLSSocket): void {
    const place = placeOf(socket);
    const connection = this.#pending.get(place);
    this.#pending.delete(place);
    // It has closed in the same moment, and nobody knows whose it was.
    if (connection === undefined) socket.destroy();
    else this.#connections.speakHttp(socket, connection);
  }
}

/** Of all connections that are open at one time, no two have the same. */
function placeOf({ localAddress, localPort, remoteAddress, remotePort }: Socket): string {
  return `${localAddress} ${localPort} ${remoteAddress} ${remotePort}`;
}
