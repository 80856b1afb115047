/**
 * The HTTP server: Fastify for routing, on a Unix socket, on the loopback address, or over TLS on any address.
 *
 * Fastify is used at its leanest: no logger, no hooks, no schemas, no reply serialisation. Its routes hand Node's
 * own request and response on to `exchange.ts`, which reads the body (Fastify's parser would copy it into memory
 * that nobody wipes) and writes the answer. The one request that there are thousands of a second, an operation in
 * AWS's spelling, is recognised before Fastify and goes where its route would take it (measured with servers that do
 * nothing else: some 5 of 40 µs of CPU). What Node's parser refuses (header floods, half requests, what is not HTTP)
 * is answered here too, with 400, a request id, and a record.
 *
 * Stopping: no new connection, answers close theirs, and after a bound whatever is left is cut.
 */

import type { IncomingMessage, RequestListener, Server, ServerOptions } from 'node:http';
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net';
import { type FastifyInstance, fastify } from 'fastify';
import type { RequestVerifier } from '../identity/request-verifier.ts';
import { SocketExclusion } from '../identity/socket-exclusion.ts';
import type { UnixMapping } from '../identity/unix-caller.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import type { KmsService } from '../pipeline/service.ts';
import { acceptConnections } from './accepting.ts';
import { type AccessSource, addAccessRoutes } from './access-routes.ts';
import type { Admission } from './admission/admission.ts';
import type { HandshakeBudget } from './admission/handshake-budget.ts';
import { rootSocketPath } from './admission/root-socket-path.ts';
import type { RoleSource } from './assume-role.ts';
import { peerAuthentication, signatureAuthentication } from './authentication.ts';
import { addBackupRoutes, type BackupControl } from './backup-routes.ts';
import { addCensusRoutes, type CensusControl } from './census-routes.ts';
import { type Connections, gateOf } from './connections/connections.ts';
import { addDomainRoutes, type DomainControl } from './domain-routes.ts';
import { refuseConnection, targetOf, type Wire } from './exchange.ts';
import type { Front } from './front/front.ts';
import { addIdentityRoutes, type CredentialSource } from './identity-routes.ts';
import { KeptSocket } from './kept-socket.ts';
import { addKeyStoreRoutes, type KeyStoreControl } from './key-store-routes.ts';
import {
  awsRequest,
  isAwsJsonRequest,
  plainOperation,
  plainRequest,
  unknownMethodOrPath,
  unknownRequest,
} from './kms-routes.ts';
import { addMoveRoutes, type MoveControl } from './move-routes.ts';
import { createServer } from './node-http.ts';
import { healthRequest, type StatusSource, statusRequest } from './status-routes.ts';
import { isQueryRequest, stsRequest } from './sts-routes.ts';
import { createTlsServer, Handshakes, type TlsIdentity } from './tls-server.ts';
import { backlog, type UnixSocketPlace } from './unix-socket.ts';
import { addUpkeepRoutes, type UpkeepControl } from './upkeep-routes.ts';
import { defaultWireLimits, type WireLimits } from './wire-limits.ts';
import { wrongProtocolLog } from './wrong-protocol.ts';

export type Listener =
  | (UnixSocketPlace & { readonly kind: 'unix'; readonly mapping: UnixMapping })
  | (NetworkPlace & { readonly kind: 'tcp' })
  | (NetworkPlace & { readonly kind: 'tls'; readonly identity: TlsIdentity; readonly budget: HandshakeBudget });

interface NetworkPlace {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly verifier: Pick<RequestVerifier, 'verify'>;
}

export interface HttpServerOptions {
  readonly service: KmsService;
  readonly listener: Listener;
  readonly status: StatusSource;
  readonly credentials: CredentialSource;
  readonly keyStores: KeyStoreControl;
  readonly upkeep: UpkeepControl;
  readonly backup: BackupControl;
  readonly census: CensusControl;
  readonly domains: DomainControl;
  readonly moves: MoveControl;
  readonly access: AccessSource;
  readonly roles: RoleSource;
  /** Of all listeners together. */
  readonly admission: Admission;
  /** Of all listeners together. */
  readonly connections: Connections;
  readonly log: Logger;
  readonly limits?: Partial<WireLimits>;
  /** `false`: `node:http` has every connection from its first byte. For tests, which compare the two. */
  readonly hasFront?: boolean;
}

export interface HttpServer {
  /** A socket path, or `http://HOST:PORT`, or `https://HOST:PORT`. */
  readonly address: string;
  /** Over TLS: for handshakes from now on. @throws Error of OpenSSL; then the former identity stays. */
  readonly useIdentity: ((identity: TlsIdentity) => void) | undefined;
  /** Resolves when the last answer is out, at the latest after `drainMs`. */
  stop(drainMs: number): Promise<void>;
}

/** Listens when the promise resolves. Rejects with a message for operators. */
export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { service, listener, status, credentials, keyStores, access, roles, admission, connections, log } = options;
  const hasFront = options.hasFront !== false;
  const limits = { ...defaultWireLimits, ...options.limits };
  const authentication =
    listener.kind === 'unix'
      ? peerAuthentication(listener.mapping, log)
      : signatureAuthentication(listener.verifier, { overTls: listener.kind === 'tls' });
  const wire: Wire = { service, authentication, admission, connections, limits, log, draining: false };
  const exclusion =
    listener.kind === 'unix'
      ? new SocketExclusion({ path: listener.path, maxRefusedPerSecond: admission.maxRefusedPerSecond, log })
      : undefined;
  const logWrongProtocol = wrongProtocolLog(log);
  let tls: (Pick<Places, 'handshakes'> & Pick<HttpServer, 'useIdentity'>) | undefined;
  let front: Front | undefined;
  const app = fastify({
    logger: false,
    serverFactory: (handler) => {
      const route: RequestListener = (message, response) => {
        if (isAwsJsonRequest(message)) awsRequest(wire, message, response);
        else handler(message, response);
      };
      if (listener.kind !== 'tls') {
        const server = configureServer(createServer(serverOptions(limits), route), wire);
        front = acceptConnections(server, wire, { exclusion, handshakes: undefined, hasFront });
        return server;
      }
      const { server, useIdentity } = createTlsServer(listener.identity, serverOptions(limits), route);
      const handshakes = new Handshakes(server, wire.connections, listener.budget);
      tls = { useIdentity, handshakes };
      acceptConnections(configureServer(server, wire), wire, { exclusion, handshakes, hasFront: false });
      return server;
    },
    clientErrorHandler: (error, socket) => {
      logWrongProtocol(error, wire.authentication.sourceOf(socket));
      const refusal = clientErrorOf(error.code ?? '');
      const connection = connections.find(socket);
      // Its next request is late because we have not read it.
      if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && connection?.reader.isHolding === true) return;
      connection?.reader.shut();
      // Its answer waits for others; what Node says of the rest of its bytes, or of their end, is about the same.
      if (refusal !== undefined && connection?.isRefused === true) return;
      if (refusal === undefined || connection === undefined || !socket.writable) socket.destroy();
      else refuseConnection(wire, connection, refusal);
    },
    // `HEAD` is no way to ask for anything.
    exposeHeadRoutes: false,
    // A bad URL (`/%zz`) is answered like any other unknown one.
    frameworkErrors: (_error, request, reply) => {
      reply.hijack();
      unknownRequest(wire, request.raw, reply.raw);
    },
  });
  addRoutes(app, wire, status, roles);
  addIdentityRoutes(app, wire, credentials, roles);
  addKeyStoreRoutes(app, wire, keyStores);
  addUpkeepRoutes(app, wire, options.upkeep);
  addBackupRoutes(app, wire, options.backup);
  addCensusRoutes(app, wire, options.census);
  addDomainRoutes(app, wire, options.domains);
  addMoveRoutes(app, wire, options.moves);
  addAccessRoutes(app, wire, access);
  await app.ready();
  const server = app.server as Server;
  const sockets = await listen(server, listener, log);
  return {
    address: addressOf(server, listener),
    useIdentity: tls?.useIdentity,
    stop: (drainMs) => stop(server, wire, { sockets, exclusion, handshakes: tls?.handshakes, front }, drainMs),
  };
}

function addRoutes(app: FastifyInstance, wire: Wire, status: StatusSource, roles: RoleSource): void {
  app.removeAllContentTypeParsers();
  // Leaves the body where it is: `exchange.ts` reads it.
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  app.post('/', (request, reply) => {
    reply.hijack();
    if (isQueryRequest(request.raw)) stsRequest(wire, request.raw, reply.raw, roles);
    else awsRequest(wire, request.raw, reply.raw);
  });
  app.get('/', (request, reply) => {
    reply.hijack();
    if (isQueryRequest(request.raw)) stsRequest(wire, request.raw, reply.raw, roles);
    else unknownRequest(wire, request.raw, reply.raw);
  });
  app.post<{ Params: { operation: string } }>('/v1/:operation', (request, reply) => {
    reply.hijack();
    const { operation } = request.params;
    if (operation === '') unknownRequest(wire, request.raw, reply.raw);
    else plainRequest(wire, request.raw, reply.raw, operation);
  });
  app.get('/health', (request, reply) => {
    reply.hijack();
    healthRequest(wire, status, request.raw, reply.raw);
  });
  app.get('/status', (request, reply) => {
    reply.hijack();
    statusRequest(wire, status, request.raw, reply.raw);
  });
  app.get<{ Params: { keyId: string } }>('/status/keys/:keyId', (request, reply) => {
    reply.hijack();
    statusRequest(wire, status, request.raw, reply.raw, request.params.keyId);
  });
  app.setNotFoundHandler((request, reply) => {
    reply.hijack();
    unknownRequest(wire, request.raw, reply.raw);
  });
  // Fastify's own refusals, such as a content type that is none: where that is of no importance, the request takes its way.
  app.setErrorHandler((error, request, reply) => {
    const { payer } = wire.connections.of(request.raw.socket);
    wire.log.debug({ payer, err: error }, 'a request was refused before its route');
    reply.hijack();
    const { raw, method, url } = request;
    const operation = method === 'POST' ? plainOperation(url) : undefined;
    if (operation !== undefined) plainRequest(wire, raw, reply.raw, operation);
    else if (method !== 'POST' || url.split('?')[0] !== '/') unknownRequest(wire, raw, reply.raw);
    else if (isQueryRequest(raw)) stsRequest(wire, raw, reply.raw, roles);
    else awsRequest(wire, raw, reply.raw);
  });
}

function serverOptions(limits: WireLimits): ServerOptions {
  return {
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: Math.max(100, Math.min(limits.headersTimeoutMs / 4, 2_000)),
    noDelay: true,
    // Node's own answer would have no request id and be on no record; which host a client means is of no interest here.
    requireHostHeader: false,
  };
}

function configureServer(server: Server, wire: Wire): Server {
  server.setTimeout(wire.limits.stalledTimeoutMs);
  server.on('timeout', (socket: Socket) => {
    // A client that waits for its answer is silent because we are: a key may take the HSM longer than this.
    const waitsForUs = (wire.connections.find(socket)?.inFlight ?? 0) > 0 && socket.writableLength === 0;
    if (waitsForUs) socket.setTimeout(wire.limits.stalledTimeoutMs);
    else socket.destroy();
  });
  // A client that listens no more after its last request (`nc -N`) still gets its answer. Node's types lack this member.
  Object.assign(server, { httpAllowHalfOpen: true });
  server.prependListener('request', (message) => gateOf(wire.connections.of(message.socket)).begin(message));
  // Nobody is asked for a body that is not read then.
  server.on('checkContinue', (message, response) => {
    if (Number(message.headers['content-length'] ?? 0) <= wire.limits.maxBodyBytes) response.writeContinue();
    server.emit('request', message, response);
  });
  server.on('connect', (message: IncomingMessage, socket: Socket) => {
    // Node has let go of the connection, its errors included.
    socket.on('error', () => socket.destroy());
    const connection = wire.connections.of(socket);
    connection.reader.shut();
    refuseConnection(wire, connection, unknownMethodOrPath(), targetOf(message));
  });
  // An `Expect` that nobody knows is no reason to answer beside the routes.
  server.on('checkExpectation', (request, response) => void server.emit('request', request, response));
  return server;
}

/** What to answer to a connection on which Node cannot go on; nothing when the peer is gone. */
function clientErrorOf(code: string): KmsError | undefined {
  if (code === 'HPE_HEADER_OVERFLOW' || code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') {
    return new KmsError('SerializationException', 'The headers of the request are too large.');
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new KmsError('SerializationException', 'The request did not arrive completely in time.');
  }
  if (code.startsWith('HPE_')) return new KmsError('SerializationException', 'The request is not valid HTTP.');
  return undefined;
}

/** What an administrator does about it. */
const listenRemedies: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there; end it or configure another port',
  EADDRNOTAVAIL: 'this machine has no such address; configure one that `ip address` shows',
  EACCES: 'this user may not listen on that port; configure one from 1024 on',
};

/** @returns The files of its sockets: of a Unix socket the one that was configured, and root's beside it. */
async function listen(server: Server, listener: Listener, log: Logger): Promise<readonly KeptSocket[]> {
  if (listener.kind === 'unix') {
    const first = await KeptSocket.listen(server, listener, log);
    // After the socket that everybody names, so that it is this one that an operator hears of who starts a second daemon.
    const { path, sharedFolder } = listener;
    const forRoot = await KeptSocket.open(
      server,
      { path: rootSocketPath(path), mode: '0600', sharedFolder, isOursAlone: true },
      log,
    ).catch(async (error: unknown) => {
      await first.release();
      server.close();
      void first.close();
      throw error;
    });
    return [first, forRoot];
  }
  const { host, port } = listener;
  await new Promise<void>((resolve, reject) => {
    const refused = (error: NodeJS.ErrnoException): void => {
      const remedy = listenRemedies[error.code ?? ''];
      const why = `${error.code ?? error.message}${remedy === undefined ? '' : `: ${remedy}`}`;
      reject(new Error(`cannot listen on \`${host}:${port}\`: ${why}`, { cause: error }));
    };
    server.once('error', refused);
    server.listen({ host, port, backlog }, () => {
      server.removeListener('error', refused);
      resolve();
    });
  });
  return [];
}

function addressOf(server: Server, listener: Listener): string {
  if (listener.kind === 'unix') return listener.path;
  // A server that listens on TCP has an address with a port.
  const { address, port, family } = server.address() as AddressInfo;
  return `${listener.kind === 'tls' ? 'https' : 'http'}://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

/** How long a connection may stay open without a request once the server stops. */
const farewellMs = 250;

interface Places {
  readonly sockets: readonly KeptSocket[];
  readonly exclusion: SocketExclusion | undefined;
  /** Of TLS: what has only begun. */
  readonly handshakes: Handshakes | undefined;
  readonly front: Front | undefined;
}

async function stop(
  server: Server,
  wire: Wire,
  { sockets, exclusion, handshakes, front }: Places,
  drainMs: number,
): Promise<void> {
  wire.draining = true;
  exclusion?.close();
  handshakes?.cut();
  for (const socket of sockets) await socket.release();
  // `Server.close` of HTTP would at once close every connection that looks idle, also one whose next request waits unread in
  // the kernel: its client would see a reset. So only the listening ends here, and for a moment whoever still asks is
  // answered and told to go.
  const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
  const farewell = setTimeout(
    () => {
      server.closeIdleConnections();
      front?.closeIdle();
    },
    Math.min(farewellMs, drainMs),
  );
  const deadline = setTimeout(() => {
    server.closeAllConnections();
    front?.closeAll();
  }, drainMs);
  await Promise.all([closed, ...sockets.map((socket) => socket.close())]);
  clearTimeout(farewell);
  clearTimeout(deadline);
  front?.end();
}
