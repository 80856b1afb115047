/**
 * A Unix socket that is kept where clients look for it: somebody clears a folder, and with the file of the socket every way
 * in is gone, while the daemon listens on. So the file is looked at every second, and made anew with a listener of its own,
 * before the same server; whoever is connected stays so. What somebody else put there is left alone and named in the log.
 * Beside each listener there are others for those who come at once (`further-listeners.ts`).
 */

import { Server as NetServer, type Server, type Socket } from 'node:net';
import type { Logger } from '../kms/logger.ts';
import { FurtherListeners } from './further-listeners.ts';
import { type ListeningSocket, listenAt, OthersSocketError, type UnixSocketPlace } from './unix-socket.ts';

const checkEveryMs = 1_000;

export class KeptSocket {
  readonly #server: Server;
  readonly #place: UnixSocketPlace;
  readonly #log: Logger;
  readonly #listeners: NetServer[] = [];
  readonly #further: FurtherListeners;
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
    this.#further = new FurtherListeners((socket) => void server.emit('connection', socket));
  }

  /**
   * The first socket of a server, on which it listens itself.
   * @throws as `listenAt`.
   */
  static async listen(server: Server, place: UnixSocketPlace, log: Logger): Promise<KeptSocket> {
    const kept = new KeptSocket(server, place, log);
    kept.#socket = await listenAt(server, place);
    kept.#further.listenBeside(server);
    kept.#check();
    return kept;
  }

  /**
   * One more, with a queue of its own in the kernel. Where another user is in the way, who may make names in the folder, nothing waits for
   * this one: it is made as soon as it can be.
   * @param server Gets the connections.
   * @throws as `listenAt`.
   */
  static async open(server: Server, place: UnixSocketPlace, log: Logger): Promise<KeptSocket> {
    const kept = new KeptSocket(server, place, log);
    try {
      kept.#socket = await kept.#listen();
    } catch (error) {
      if (!(error instanceof OthersSocketError)) throw error;
      kept.#said = error.message;
      log.error({ socket: place.path, reason: error.message }, 'a socket beside the first one cannot be made yet');
    }
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
    await Promise.all([this.#further.close(), ...this.#closing]);
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
      this.#further.refill();
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
    const listener = new NetServer({ allowHalfOpen: true }, (socket: Socket) => {
      this.#server.emit('connection', socket);
    });
    const socket = await listenAt(listener, this.#place).catch((error: unknown) => {
      listener.close();
      throw error;
    });
    // Whoever is connected stays so; the file that led to the former ones is gone, or somebody else's name for it.
    this.#closeListeners();
    this.#listeners.push(listener);
    this.#further.listenBeside(listener);
    return socket;
  }
}
