/**
 * Reads sockets into one buffer that those of a kind share, and writes to them, without what Node's streams make for each.
 *
 * Node.js makes 64 KB of memory for each read of an accepted socket, gives most of it back, and leaves the rest to the garbage
 * collector: 2 of the 8 µs that reading and answering take at the least (measured). For sockets that a client opens it has
 * `onread`, which reads into a buffer of the caller's; for accepted ones the same is there, and no public word for it. So it is
 * looked for: where a version of Node.js has it no longer, `canReadShared` says no, and every connection goes to the back.
 *
 * Whoever takes bytes has them until it returns; then they are zeroed, because requests carry plaintexts.
 *
 * What is written goes to the kernel by one call, from memory that is wiped or used again when that returns. What the kernel does not
 * take at once, and whatever comes while something waits, goes the way that it always goes.
 *
 * Source: Node.js, `net.connect`, option `onread`; lib/net.js, `initSocketHandle`.
 */

import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** @param bytes The shared buffer: what was read is at its beginning, and its own only until this returns. */
export type TakeBytes = (bytes: Buffer, lengthBytes: number) => void;

const symbols = Object.getOwnPropertySymbols(new Socket());
const bufferKey = symbols.find(({ description }) => description === 'kBuffer');
const callbackKey = symbols.find(({ description }) => description === 'kBufferCb');

interface Handle {
  readonly fd?: number;
  useUserBuffer?(buffer: Buffer): void;
  readStop(): number;
  readStart(): number;
}

function handleOf(socket: Socket): Handle | null {
  // Node's own, as is its `fd`, of which there is no public word either.
  return (socket as unknown as { readonly _handle: Handle | null })._handle;
}

/** May `readShared` be called with it? */
export function canReadShared(socket: Socket): boolean {
  const hasKeys = bufferKey !== undefined && callbackKey !== undefined && bufferKey in socket;
  return hasKeys && typeof handleOf(socket)?.useUserBuffer === 'function';
}

/** Has `take` called with whatever is read of the socket from now on. No `data` is emitted for it. */
export function readShared(socket: Socket, buffer: Buffer, take: TakeBytes): void {
  if (bufferKey === undefined) throw new TypeError('this version of Node.js reads into its own buffers alone');
  Object.assign(socket, { [bufferKey]: buffer });
  redirect(socket, take);
  handleOf(socket)?.useUserBuffer?.(buffer);
}

/** As `readShared`, of a socket that is read so already; of another one nothing happens. */
export function redirect(socket: Socket, take: TakeBytes): void {
  if (bufferKey === undefined || callbackKey === undefined) return;
  const buffer = (socket as unknown as Record<symbol, Buffer | boolean | null>)[bufferKey];
  if (!(buffer instanceof Buffer)) return;
  Object.assign(socket, {
    [callbackKey]: (lengthBytes: number) => {
      try {
        take(buffer, lengthBytes);
      } finally {
        buffer.fill(0, 0, lengthBytes);
      }
    },
  });
}

/**
 * Not `pause()` of the socket: it goes on filling the socket's buffer, and Node's HTTP server undoes it whenever somebody reads
 * a body. That the socket believes that it is reading keeps it from starting by itself.
 */
export function stopReading(socket: Socket): void {
  handleOf(socket)?.readStop();
}

export function startReading(socket: Socket): void {
  handleOf(socket)?.readStart();
}

/**
 * Gives the kernel what it takes at once, if nothing waits for that already.
 * @param what Bytes, or text of which each character is a byte.
 * @returns How many bytes it took: 0 where the socket is broken, too, which whoever writes the rest to it is told.
 */
export function writeNow(socket: Socket, what: Buffer | string): number {
  // Its descriptor is that of the bytes beneath, which nobody encrypts then.
  if (socket instanceof TLSSocket) return 0;
  const fd = handleOf(socket)?.fd;
  if (fd === undefined || fd < 0 || socket.writableLength > 0) return 0;
  try {
    return typeof what === 'string' ? writeSync(fd, what, null, 'latin1') : writeSync(fd, what);
  } catch {
    return 0; // It is full, or it fails again for whoever can tell somebody.
  }
}
