/**
 * The socket of root and the daemon's own user (`root-socket-path.ts`): a listener with a queue of its own, before the same
 * server. Who connects there is asked of the kernel all the same, and counted as everybody is; it is the kernel's queue of
 * connections that nobody else can fill there.
 */

import { Server as NetServer, type Server, type Socket } from 'node:net';
import { rootSocketPath } from './admission/root-socket-path.ts';
import { listenAt, type UnixSocketPlace } from './unix-socket.ts';

export interface RootEntrance {
  /** Removes the file. */
  release(): Promise<void>;
  /** Listens no more; resolves when the last connection that came in here has ended. */
  close(): Promise<void>;
}

/** @param server Gets the connections. @throws as `listenAt`. */
export async function openRootEntrance(
  server: Server,
  { path, sharedFolder }: Pick<UnixSocketPlace, 'path' | 'sharedFolder'>,
): Promise<RootEntrance> {
  const entrance = new NetServer({ allowHalfOpen: true }, (socket: Socket) => void server.emit('connection', socket));
  const socket = await listenAt(entrance, { path: rootSocketPath(path), mode: '0600', sharedFolder });
  return {
    release: () => socket.release(),
    close: () => new Promise((resolve) => entrance.close(() => resolve())),
  };
}
