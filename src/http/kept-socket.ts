/**
 * A Unix socket that is kept where clients look for it: somebody clears a folder, and with the file of the socket every way
 * in is gone, while the daemon listens on. So the file is looked at every second, and made anew with a listener of its own,
 * before the same server; whoever is connected stays so. What somebody else put there is left alone and named in the log.
 *
 * Node.js accepts one connection of a listener in each turn of the event loop, so that of many programs that connect at once each was
 * served in a turn of its own, one request at a time. So a socket has several listeners, with one queue in the kernel. Measured with 256
 * connections at once that send one Encrypt each (one listener, four, eight): half of them have their answer after 55, 39, 36 ms, all after
 * 101, 72, 61, and the first after 3.9, 5.2, 7.9. It is four because whoever is connected waits for what a turn accepts.
 */

import { Server as NetServer, type Server, type Socket } from 'node:net';
import type { Logger } from '../kms/logger.ts';
import { copyDescriptor } from '../secrets/descriptor-copies.ts';
import { backlog, type ListeningSocket, listenAt, type UnixSocketPlace } from './unix-socket.ts';

const checkEveryMs = 1_000;
export const acceptsPerTurn = 4;

export class KeptSocket {
  readonly #server: Server;
  readonly #place: UnixSocketPlace;
  readonly #log: Logger;
  readonly #listeners: NetServer[] = [];
  /** Those that listen no more, until their last connection has ended. */
  readonly #closing = new Set<Promise<void>>();
  #socket: ListeningSocket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #checking: Promise<void> = Promise.resolve();
  /** What the log last said about the file. */
  #said = '';

  private constructor(server: Server, place: UnixSocketPlace, log: Logger) {
    this.#server = server;
    this.#place = place;
    this.#log = log;
  }

  /**
   * The first socket of a server, on which it listens itself.
   * @throws as `listenAt`.
   */
  static async listen(server: Server, place: UnixSocketPlace, log: Logger): Promise<KeptSocket> {
    const kept = new KeptSocket(server, place, log);
    kept.#socket = await listenAt(server, place);
    await kept.#listenBeside(server);
    kept.#check();
    return kept;
  }

  /**
   * One more, with a queue of its own in the kernel.
   * @param server Gets the connections.
   * @throws as `listenAt`.
   */
  static async open(server: Server, place: UnixSocketPlace, log: Logger): Promise<KeptSocket> {
    const kept = new KeptSocket(server, place, log);
    kept.#socket = await kept.#listen();
    kept.#check();
    return kept;
  }

  /** Removes the file, and makes no other. */
  async release(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#checking;
    clearTimeout(this.#timer);
    await this.#socket?.release();
    this.#socket = undefined;
  }

  /** Listens no more, the server's own listening apart; resolves when the last connection that came in here has ended. */
  async close(): Promise<void> {
    this.#closeListeners();
    await Promise.all(this.#closing);
  }

  #closeListeners(): void {
    for (const listener of this.#listeners.splice(0)) {
      const closed = new Promise<void>((resolve) => void listener.close(() => resolve())).then(
        () => void this.#closing.delete(closed),
      );
      this.#closing.add(closed);
    }
  }

  #check(): void {
    this.#timer = setTimeout(() => {
      this.#checking = this.#mend().finally(() => {
        if (this.#timer !== undefined) this.#check();
      });
    }, checkEveryMs).unref();
  }

  async #mend(): Promise<void> {
    const { path } = this.#place;
    if (await this.#socket?.isThere()) return;
    try {
      this.#socket = await this.#listen();
      this.#said = '';
      this.#log.warn({ socket: path }, 'the file of the socket was gone; it is made anew');
    } catch (error) {
      const { message } = error as Error;
      if (message === this.#said) return;
      this.#said = message;
      this.#log.error({ socket: path, reason: message }, 'the file of the socket is gone and cannot be made anew yet');
    }
  }

  async #listen(): Promise<ListeningSocket> {
    const listener = this.#newListener();
    const socket = await listenAt(listener, this.#place).catch((error: unknown) => {
      listener.close();
      throw error;
    });
    // Whoever is connected stays so; the file that led to the former ones is gone, or somebody else's name for it.
    this.#closeListeners();
    this.#listeners.push(listener);
    await this.#listenBeside(listener);
    return socket;
  }

  #newListener(): NetServer {
    return new NetServer({ allowHalfOpen: true }, (socket: Socket) => {
      this.#server.emit('connection', socket);
    });
  }

  /** On what another one listens on. Without, it is slower and nothing else. */
  async #listenBeside(listener: NetServer): Promise<void> {
    for (let count = 1; count < acceptsPerTurn; count++) {
      const descriptor = copyDescriptor(descriptorOf(listener));
      if (descriptor === undefined) return;
      const further = this.#newListener();
      this.#listeners.push(further);
      await new Promise<void>((resolve) => {
        further.once('error', (error) => {
          this.#log.warn({ socket: this.#place.path, err: error }, 'connections are accepted one at a time');
          resolve();
        });
        further.listen({ fd: descriptor, backlog }, resolve);
      });
    }
  }
}

/** Node.js has no public way to it; `_handle.fd` has been there since its beginnings. */
function descriptorOf(listener: NetServer): number {
  return (listener as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1;
}
