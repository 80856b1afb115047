/**
 * Which user opened a loopback TCP connection, by the kernel's table of sockets.
 *
 * Both ends of such a connection are sockets of this machine, and the table says of each who made it. The kernel is asked
 * for the one socket (`sock_diag`), which is a look-up in a hash table however many sockets there are: 3 system calls. Where that
 * is not to be had (a sandbox without `AF_NETLINK`, a kernel without `tcp_diag`), the tables in `/proc/net` are read, which
 * takes longer the more sockets somebody opens; so once for all connections that are accepted in one turn of the event loop.
 *
 * The answer is good for counting and for nothing else: it is no proof of who sends a request. It says who made the socket,
 * who may have given it to somebody else; of a user namespace it says what its uids are outside. A socket that nobody has
 * any more is root's in these tables; it is not believed: a client that closes at once would be root.
 *
 * Source: sock_diag(7); netlink(7); the kernel's include/uapi/linux/inet_diag.h; proc_pid_net(5), `/proc/net/tcp`.
 */

import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import koffi from 'koffi';

/** As a connection that was accepted has them: the daemon's end is the local one. */
export interface TcpPeer {
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

interface ClientSocket {
  /** By the kernel's include/net/tcp_states.h. */
  readonly state: number;
  readonly uid: number;
  /** 0: no process has it any more, and its uid says nothing. */
  readonly inode: number;
}

/** How the table is asked: `undefined` where the socket is not there. */
type LookUp = (peer: TcpPeer) => ClientSocket | undefined;

/**
 * The uid of the user who made the client's socket; `undefined` where it is not there (the client is elsewhere, or has
 * closed) or cannot be told. Never throws.
 */
export function uidOfTcpPeer(peer: TcpPeer): number | undefined {
  return ownerIn(netlinkTable() ?? procTable, peer);
}

/** By the tables in `/proc/net` alone; for machines where the kernel cannot be asked for one socket. */
export function uidOfTcpPeerInTables(peer: TcpPeer): number | undefined {
  return ownerIn(procTable, peer);
}

/**
 * Established, or being closed by either end. Anything else is another socket: where there is no such connection, the kernel
 * takes a listening one of that address and port for the one meant.
 */
const connectedStates: ReadonlySet<number> = new Set([1, 4, 5, 8, 9, 11]);

function ownerIn(lookUp: LookUp, peer: TcpPeer): number | undefined {
  const found = lookUp(peer);
  if (found === undefined || found.inode === 0 || !connectedStates.has(found.state)) return undefined;
  if (found.uid !== 0) return found.uid;
  // The kernel reads uid and inode one after the other, and a socket that is closed in between is root's. It never has a
  // process again, so one that has a process now had one then.
  forgetTables();
  return lookUp(peer)?.inode === found.inode ? 0 : undefined;
}

/* ---- One socket, by netlink. */

const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const NLM_F_REQUEST = 1;
const NLMSG_ERROR = 2;
const MSG_DONTWAIT = 0x40;
const IPPROTO_TCP = 6;

/** `struct nlmsghdr`: length, type, flags, sequence number, port id. */
const headerBytes = 16;
/** `struct inet_diag_req_v2`, with a `struct inet_diag_sockid` at 8. */
const requestBytes = headerBytes + 56;
/** `struct inet_diag_msg`: the state at 1, the uid at 64, the inode at 68. */
const answerBytes = headerBytes + 72;

const libc = koffi.load(null);
const socket = libc.func('int socket(int domain, int type, int protocol)');
const send = libc.func('long send(int socket, const void *data, size_t length, int flags)');
const receive = libc.func('long recv(int socket, _Out_ void *data, size_t length, int flags)');

/** Not there: it was not asked for yet. Null: it is not to be had here. */
let descriptor: number | null | undefined;
let sequence = 0;
/** Did the kernel ever find a socket? One without `tcp_diag` says of every socket that it is not there. */
let isProven = false;

function netlinkTable(): LookUp | undefined {
  if (descriptor === undefined) {
    const opened: number = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    descriptor = opened < 0 ? null : opened;
  }
  if (descriptor === null) return undefined;
  if (isProven) return ask;
  return (peer) => {
    const found = ask(peer);
    // The daemon's own end is there in any case, while it is open.
    isProven ||= found !== undefined || ask(reversed(peer)) !== undefined;
    return isProven ? found : procTable(peer);
  };
}

function reversed({ localAddress, localPort, remoteAddress, remotePort }: TcpPeer): TcpPeer {
  return { localAddress: remoteAddress, localPort: remotePort, remoteAddress: localAddress, remotePort: localPort };
}

const answer = Buffer.alloc(4096);

/** The kernel answers within `send`; nothing is waited for. */
function ask(peer: TcpPeer): ClientSocket | undefined {
  const request = encodeRequest(peer);
  if (descriptor === null || send(descriptor, request, request.length, 0) !== request.length) return undefined;
  for (;;) {
    const length = Number(receive(descriptor, answer, answer.length, MSG_DONTWAIT));
    if (length < headerBytes) return undefined;
    // An answer that was not fetched, because of a signal, is passed over.
    if (answer.readUInt32LE(8) !== sequence) continue;
    if (answer.readUInt16LE(4) === NLMSG_ERROR || length < answerBytes) return undefined;
    return {
      state: answer.readUInt8(headerBytes + 1),
      uid: answer.readUInt32LE(headerBytes + 64),
      inode: answer.readUInt32LE(headerBytes + 68),
    };
  }
}

/** For the client's end: the source is the remote address, the destination the local one. */
function encodeRequest(peer: TcpPeer): Buffer {
  const source = bytesOf(peer.remoteAddress);
  const destination = bytesOf(peer.localAddress);
  sequence = (sequence + 1) >>> 0;
  const request = Buffer.alloc(requestBytes);
  request.writeUInt32LE(requestBytes, 0);
  request.writeUInt16LE(SOCK_DIAG_BY_FAMILY, 4);
  request.writeUInt16LE(NLM_F_REQUEST, 6);
  request.writeUInt32LE(sequence, 8);
  const at = headerBytes;
  request.writeUInt8(source.length === 4 ? AF_INET : AF_INET6, at);
  request.writeUInt8(IPPROTO_TCP, at + 1);
  request.writeUInt32LE(0xffff_ffff, at + 4); // In any state.
  request.writeUInt16BE(peer.remotePort, at + 8);
  request.writeUInt16BE(peer.localPort, at + 10);
  source.copy(request, at + 12);
  destination.copy(request, at + 28);
  request.fill(0xff, at + 48, at + 56); // Whatever its cookie is: INET_DIAG_NOCOOKIE.
  return request;
}

/** An IPv4 address that was mapped into IPv6, as a listener of both gives it, is one of IPv4. */
function bytesOf(address: string): Buffer {
  const mapped = address.toLowerCase().startsWith('::ffff:') ? address.slice(7) : address;
  if (isIPv4(mapped)) return Buffer.from(mapped.split('.').map(Number));
  const [left = '', right] = (address.split('%')[0] ?? '').split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => parseInt(group, 16)));
  const before = groups(left);
  const after = right === undefined ? [] : groups(right);
  const zeros = Array.from({ length: Math.max(0, 8 - before.length - after.length) }, () => 0);
  const bytes = Buffer.alloc(16);
  for (const [index, group] of [...before, ...zeros, ...after].slice(0, 8).entries()) {
    bytes.writeUInt16BE(group & 0xffff, index * 2);
  }
  return bytes;
}

/* ---- All sockets, in `/proc/net`. */

/** The tables as they were read in this turn of the event loop. */
let tables: string | undefined;

function forgetTables(): void {
  tables = undefined;
}

function readTables(): string {
  if (tables === undefined) {
    tables = ['/proc/net/tcp', '/proc/net/tcp6'].map(readTable).join('');
    setImmediate(forgetTables);
  }
  return tables;
}

function readTable(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // A machine without IPv6 lacks one of them.
    return '';
  }
}

/** `  0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 12345 …` */
const procTable: LookUp = (peer) => {
  const text = readTables();
  for (const isMapped of [false, true]) {
    const name = (address: string, port: number): string =>
      `${hexOf(bytesOf(address), isMapped)}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
    const sought = ` ${name(peer.remoteAddress, peer.remotePort)} ${name(peer.localAddress, peer.localPort)} `;
    const at = text.indexOf(sought);
    if (at < 0) continue;
    const fields = text.slice(at, text.indexOf('\n', at)).trim().split(/\s+/);
    return { state: Number.parseInt(fields[2] ?? '', 16), uid: Number(fields[6]), inode: Number(fields[8]) };
  }
  return undefined;
};

/** Words of four bytes, each as a number of this machine. A socket of IPv6 may be connected to an address of IPv4. */
function hexOf(address: Buffer, isMapped: boolean): string {
  const mapping = Buffer.from('00000000000000000000ffff', 'hex');
  const bytes = isMapped && address.length === 4 ? Buffer.concat([mapping, address]) : address;
  let text = '';
  for (let at = 0; at < bytes.length; at += 4) {
    text += bytes.readUInt32LE(at).toString(16).toUpperCase().padStart(8, '0');
  }
  return text;
}
