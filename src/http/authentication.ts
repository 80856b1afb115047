/**
 * Who sends a request: by the kernel's word on a Unix socket, by a signature on the loopback listener and over TLS.
 *
 * On a Unix socket the kernel is asked once per connection, when it is accepted and before any byte of it is read; what
 * it says cannot change afterwards, even if the peer passes its end to another process. The uid becomes a principal at
 * the first request, which waits for a directory server if need be, and with it nothing but that connection. On the loopback listener every
 * request proves itself anew.
 */

import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Caller, TlsFacts, UnixPeer } from '../identity/caller.ts';
import { ContainerNames } from '../identity/container-names.ts';
import { payerOfPeer } from '../identity/payer-of-caller.ts';
import { readUnixPeer } from '../identity/peer-credentials.ts';
import { originOfPeer } from '../identity/peer-origin.ts';
import type { RequestVerifier } from '../identity/request-verifier.ts';
import type { ServiceName } from '../identity/sigv4.ts';
import { ownerOfUid } from '../identity/subordinate-uids.ts';
import { uidOfTcpPeer } from '../identity/tcp-peer-uid.ts';
import { couldBeOperator, findUnixCaller, ReusedUidError, type UnixMapping } from '../identity/unix-caller.ts';
import { userDatabaseState } from '../identity/unix-names.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import { type Payer, payerOfAddress, payerOfUid, unknownPayer } from '../kms/payer.ts';

/** What a request proves with who sends it; Node's `IncomingMessage` has all of it. */
export interface ProvableRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  /** Names and values in turn, as they were sent. */
  readonly rawHeaders: string[];
  readonly socket: Socket;
}

export interface Authentication {
  /** Does it take the headers of a request to know who sends it? */
  readonly readsHeaders: boolean;
  /**
   * A connection was accepted; nothing of it was read yet.
   * @returns Who pays for the connection; `unknownPayer` where nothing is known before a request.
   */
  accepted(socket: Socket): Payer;
  /** On a Unix socket, the uid that connected, also where it is somebody's subordinate. */
  uidOf(socket: Socket): number | undefined;
  /**
   * A promise only when the key of a signature has to be fetched first, or the name of a user.
   * @param body All of it: a signature covers it.
   * @throws KmsError (or rejects with one) when the request does not prove who sends it.
   */
  callerOf(request: ProvableRequest, body: Buffer, service: ServiceName): Caller | Promise<Caller>;
  /** Who is known to be at the other end before any request was understood. Never rejects. */
  peerOf(socket: Socket): Promise<Caller | null>;
  /** An IP address, or `unix`. */
  sourceOf(socket: Socket): string;
  /** Whoever connected is nobody any more: the answer in hand is the last one on this connection. */
  isOver(socket: Socket): boolean;
}

export function peerAuthentication(mapping: UnixMapping, log: Logger): Authentication {
  const peers = new WeakMap<Socket, UnixPeer>();
  const callers = new WeakMap<Socket, { readonly caller: Caller; readonly state: number }>();
  const over = new WeakSet<Socket>();
  /**
   * The peer's principal, as long as nothing in the user database has changed; its name may have to be looked up, which can fail now
   * and work later.
   */
  const resolve = (socket: Socket): Caller | Promise<Caller> => {
    const state = userDatabaseState();
    const known = callers.get(socket);
    if (known?.state === state) return known.caller;
    const peer = peers.get(socket);
    if (peer === undefined) throw unidentified();
    const learn = (caller: Caller): Caller => {
      const { proof } = caller;
      // From now on he is the user of that name, or nobody.
      if (proof.kind === 'unix' && proof.userName !== undefined) {
        peers.set(socket, { ...peer, userName: proof.userName });
      }
      callers.set(socket, { caller, state });
      return caller;
    };
    const refuse = (error: unknown): never => {
      // Who connects again is whoever has the uid by now.
      if (error instanceof ReusedUidError) over.add(socket);
      log.warn({ payer: payerOfPeer(peer), uid: peer.uid, err: error }, 'a caller could not be identified');
      throw unidentified();
    };
    try {
      const found = findUnixCaller(peer, mapping);
      return found instanceof Promise ? found.then(learn, refuse) : learn(found);
    } catch (error) {
      return refuse(error);
    }
  };
  const { containers = new ContainerNames({}) } = mapping;
  const told = new Set<string>();
  /** Operators have to be shown to be the machine's; of others it does not matter. */
  const placed = (socket: Socket, peer: UnixPeer): UnixPeer => {
    if (!couldBeOperator(peer.uid, mapping)) return peer;
    const origin = originOfPeer(socket, peer, containers);
    if (origin !== 'machine') warnOf(peer, origin.container);
    return { ...peer, origin };
  };
  /** Once for each container: there are as many as the configuration names, and one. */
  const warnOf = ({ uid, pid }: UnixPeer, container: string): void => {
    if (told.has(container)) return;
    told.add(container);
    log.warn({ uid, pid, container }, 'a process in a container has the uid of root, and is not taken for root');
  };
  return {
    readsHeaders: false,
    accepted(socket) {
      try {
        const peer = placed(socket, readUnixPeer(socket));
        peers.set(socket, peer);
        return payerOfPeer(peer);
      } catch (error) {
        // Nobody is served whom the kernel does not vouch for; `callerOf` says so to each request.
        log.warn({ payer: unknownPayer, err: error }, 'the kernel did not say who connected');
        return unknownPayer;
      }
    },
    uidOf: (socket) => peers.get(socket)?.uid,
    callerOf: ({ socket }) => resolve(socket),
    async peerOf(socket) {
      try {
        return await resolve(socket);
      } catch {
        // It is in the log already. What the request is refused for is something else.
        return null;
      }
    },
    sourceOf: () => 'unix',
    isOver: (socket) => over.has(socket),
  };
}

function unidentified(): KmsError {
  return new KmsError('KMSInternalException', 'The caller could not be identified. The request can be retried.');
}

export function signatureAuthentication(
  verifier: Pick<RequestVerifier, 'verify'>,
  { overTls }: { readonly overTls: boolean },
): Authentication {
  const factsOf = overTls ? tlsFacts() : () => undefined;
  return {
    readsHeaders: true,
    accepted: payerOfTcpPeer,
    uidOf: () => undefined,
    callerOf({ method = '', url: path = '', rawHeaders, socket }, body, service) {
      return verifier.verify(
        { method, path, rawHeaders, body, sourceIp: addressOf(socket), tls: factsOf(socket) },
        service,
      );
    },
    peerOf: () => Promise.resolve(null),
    sourceOf: addressOf,
    isOver: () => false,
  };
}

/** They are asked of OpenSSL once for each connection: nothing is negotiated anew. */
function tlsFacts(): (socket: Socket) => TlsFacts {
  const known = new WeakMap<Socket, TlsFacts>();
  return (socket) => {
    let facts = known.get(socket);
    if (facts === undefined) {
      // A listener for TLS has no other sockets once a request came.
      const tls = socket as TLSSocket;
      facts = { tlsVersion: tls.getProtocol() ?? 'unknown', cipherSuite: tls.getCipher().standardName };
      known.set(socket, facts);
    }
    return facts;
  };
}

/** As policies write it: an IPv4 address stays one where IPv6 is listened to as well. */
function addressOf({ remoteAddress = 'unknown' }: Socket): string {
  return remoteAddress.replace(/^::ffff:(?=\d+\.)/i, '');
}

/** On the loopback address the kernel knows whose socket the other end is. That says who pays, and not who asks. */
function payerOfTcpPeer({ localAddress, localPort, remoteAddress, remotePort }: Socket): Payer {
  if (localAddress === undefined || localPort === undefined) return unknownPayer;
  if (remoteAddress === undefined || remotePort === undefined) return unknownPayer;
  const uid = uidOfTcpPeer({ localAddress, localPort, remoteAddress, remotePort });
  return uid === undefined ? payerOfAddress(remoteAddress) : payerOfUid(ownerOfUid(uid));
}
