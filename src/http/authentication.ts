/**
 * Who sends a request: by the kernel's word on a Unix socket, by a signature on the loopback listener.
 *
 * On a Unix socket the kernel is asked once per connection, when it is accepted and before any byte of it is read; what
 * it says cannot change afterwards, even if the peer passes its end to another process. On the loopback listener every
 * request proves itself anew.
 */

import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Caller } from '../identity/caller.ts';
import { readUnixPeer } from '../identity/peer-credentials.ts';
import { type SigningKey, verifySignedRequest } from '../identity/sigv4.ts';
import { resolveUnixCaller, type UnixMapping } from '../identity/unix-caller.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import type { Realm } from '../kms/names.ts';

export interface Authentication {
  /** A connection was accepted; nothing of it was read yet. */
  accepted(socket: Socket): void;
  /**
   * @param body All of it: a signature covers it.
   * @throws KmsError when the request does not prove who sends it.
   */
  callerOf(message: IncomingMessage, body: Buffer): Caller;
  /** Who is known to be at the other end before any request was understood. */
  peerOf(socket: Socket): Caller | null;
  /** An IP address, or `unix`. */
  sourceOf(socket: Socket): string;
}

export function peerAuthentication(mapping: UnixMapping, log: Logger): Authentication {
  const callers = new WeakMap<Socket, Caller>();
  return {
    accepted(socket) {
      try {
        callers.set(socket, resolveUnixCaller(readUnixPeer(socket), mapping));
      } catch (error) {
        // Nobody is served whom the kernel does not vouch for; `callerOf` says so to each request.
        log.error({ err: error }, 'the kernel did not say who connected');
      }
    },
    callerOf(message) {
      const caller = callers.get(message.socket);
      if (caller !== undefined) return caller;
      throw new KmsError('KMSInternalException', 'The caller of this connection could not be identified.');
    },
    peerOf: (socket) => callers.get(socket) ?? null,
    sourceOf: () => 'unix',
  };
}

export function signatureAuthentication(
  keys: (accessKeyId: string) => SigningKey | undefined,
  realm: Realm,
): Authentication {
  return {
    accepted: () => undefined,
    callerOf(message, body) {
      const { method = '', url: path = '', rawHeaders, socket } = message;
      return verifySignedRequest(
        {
          method,
          path,
          rawHeaders,
          body,
          sourceIp: socket.remoteAddress ?? 'unknown',
        },
        keys,
        new Date(),
        realm,
      );
    },
    peerOf: () => null,
    sourceOf: (socket) => socket.remoteAddress ?? 'unknown',
  };
}
