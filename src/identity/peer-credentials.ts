/**
 * Who is at the other end of a Unix socket, by the kernel's word.
 *
 * The kernel records uid, gid and groups of a process when it calls `connect`, and gives them out for as long as the
 * connection lives. What happens to that process afterwards changes nothing: it may change its user, or pass its end of
 * the connection to another process, and the connection keeps the identity of who opened it. Whoever holds an open
 * connection therefore acts as the one who opened it, as with any file descriptor.
 *
 * An accepted weakness: a process in another user namespace, whose uid means nothing in this one, is reported as the
 * overflow uid (65534, `nobody`), as it is for files. So `nobody` is not one user, and a policy that names him means all
 * of those.
 *
 * Source: unix(7), `SO_PEERCRED`; socket(7); the kernel's include/uapi/asm-generic/socket.h for `SO_PEERGROUPS`.
 */

import type { Socket } from 'node:net';
import koffi from 'koffi';
import type { UnixPeer } from './caller.ts';

/** The same on every architecture that Node.js is released for. */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** Since Linux 4.13. */
const SO_PEERGROUPS = 59;
/** Since Linux 6.5. */
const SO_PEERPIDFD = 77;

/** `struct ucred`: pid, uid, gid. */
const ucredBytes = 12;
const gidBytes = 4;
/** Enough for almost everybody; the kernel says how much more it takes, at most 65,536 groups (`NGROUPS_MAX`). */
const firstGroupCount = 64;
/** What the kernel reports as uid where there are no credentials, as on a TCP socket. */
const noUid = 0xffff_ffff;

// The C library is in every process of Node.js, whatever its file is called.
const getsockopt = koffi
  .load(null)
  .func('int getsockopt(int socket, int level, int option, void *value, _Inout_ uint32_t *length)');

/** The kernel does not say who the peer is. Nobody is served on such a connection. */
export class PeerCredentialsError extends Error {
  override readonly name = 'PeerCredentialsError';
}

/**
 * Whose process listens at the other end, or did when it began to: what a client is told before it sends anything.
 * @param socket A connection to a Unix socket.
 * @throws PeerCredentialsError
 */
export function readListenerUid(socket: Socket): number {
  return readCredentials(descriptorOf(socket)).uid;
}

/**
 * @param socket A connection that a Unix socket's server accepted.
 * @throws PeerCredentialsError
 */
export function readUnixPeer(socket: Socket): UnixPeer {
  const descriptor = descriptorOf(socket);
  return {
    kind: 'unix',
    ...readCredentials(descriptor),
    groups: readGroups(descriptor),
    acceptedAtMs: performance.now(),
  };
}

/**
 * A descriptor of the very process that connected, whatever its pid may be by now; whoever gets it closes it.
 * @returns `undefined` where the kernel has no such thing.
 * @throws PeerCredentialsError where the process has ended.
 */
export function openPeerProcess(socket: Socket): number | undefined {
  const value = Buffer.alloc(4);
  const { errno } = getOption(descriptorOf(socket), SO_PEERPIDFD, value);
  if (errno === koffi.os.errno['ENOPROTOOPT']) return undefined;
  if (errno !== 0) throw new PeerCredentialsError(`the process that connected cannot be told: errno ${errno}`);
  return value.readInt32LE(0);
}

function readCredentials(descriptor: number): { readonly pid: number; readonly uid: number; readonly gid: number } {
  const credentials = Buffer.alloc(ucredBytes);
  const read = getOption(descriptor, SO_PEERCRED, credentials);
  if (read.errno !== 0 || read.lengthBytes !== ucredBytes) {
    throw new PeerCredentialsError(`cannot read the credentials of a peer: errno ${read.errno}`);
  }
  const uid = credentials.readUInt32LE(4);
  if (uid === noUid) throw new PeerCredentialsError('the kernel knows no credentials of this peer');
  return { pid: credentials.readInt32LE(0), uid, gid: credentials.readUInt32LE(8) };
}

function readGroups(descriptor: number): readonly number[] {
  let groups = Buffer.alloc(firstGroupCount * gidBytes);
  let read = getOption(descriptor, SO_PEERGROUPS, groups);
  if (read.errno === koffi.os.errno['ERANGE']) {
    // They were fixed at `connect`, so the length that the kernel names is the length that it takes.
    groups = Buffer.alloc(read.lengthBytes);
    read = getOption(descriptor, SO_PEERGROUPS, groups);
  }
  if (read.errno !== 0) throw new PeerCredentialsError(`cannot read the groups of a peer: errno ${read.errno}`);
  return Array.from({ length: read.lengthBytes / gidBytes }, (_, index) => groups.readUInt32LE(index * gidBytes));
}

function getOption(descriptor: number, option: number, value: Buffer): { errno: number; lengthBytes: number } {
  const length = [value.length];
  const failed = getsockopt(descriptor, SOL_SOCKET, option, value, length) !== 0;
  return { errno: failed ? koffi.errno() : 0, lengthBytes: length[0] ?? 0 };
}

/** Node.js has no public way to a socket's descriptor; `_handle.fd` has been there since its beginnings. */
function descriptorOf(socket: Socket): number {
  const handle = (socket as unknown as { readonly _handle?: { readonly fd?: unknown } | null })._handle;
  if (typeof handle?.fd === 'number' && handle.fd >= 0) return handle.fd;
  throw new PeerCredentialsError('the connection is closed already');
}
