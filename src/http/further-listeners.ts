/**
 * Further listeners beside one: on copies of its descriptor, with one queue in the kernel.
 *
 * Node.js accepts one connection of a listener in each turn of the event loop, so that of many programs that connect at once each was
 * served in a turn of its own, one request at a time. Measured with 256 connections at once that send one Encrypt each (one listener, four,
 * eight): half of them have their answer after 55, 39, 36 ms, all after 101, 72, 61, and the first after 3.9, 5.2, 7.9. It is four
 * in all, because whoever is connected waits for what a turn accepts.
 *
 * For the same reason it is for bursts alone: when those beside have accepted `maxBesidePerSecond`, they close until `refill`. Somebody
 * who connects again and again would else have four times as much of everybody's time (16 connections made 3,400 requests a second
 * beside him, and not 8,000).
 */

import { Server as NetServer, type Socket } from 'node:net';
import { copyDescriptor } from '../secrets/descriptor-copies.ts';
import { backlog } from './unix-socket.ts';

/** With the one that they are beside. */
export const acceptsPerTurn = 4;
/** Three quarters of a burst. What accepting one costs is 30 µs, and 90 where it may be an operator's, whose process is looked at. */
export const maxBesidePerSecond = 256;

export class FurtherListeners {
  readonly #accept: (socket: Socket) => void;
  #beside: NetServer | undefined;
  #listeners: NetServer[] = [];
  #accepted = 0;
  /** Those that listen no more, until their last connection has ended. */
  readonly #closing = new Set<Promise<void>>();

  /** @param accept Gets the connections. */
  constructor(accept: (socket: Socket) => void) {
    this.#accept = accept;
  }

  /** From now on they are beside this one, which listens. Without them it is slower, and nothing else. */
  listenBeside(listener: NetServer): void {
    this.#stop();
    this.#beside = listener;
    this.refill();
  }

  /** To be called once a second. */
  refill(): void {
    this.#accepted = 0;
    const descriptor = this.#beside === undefined ? -1 : descriptorOf(this.#beside);
    while (descriptor >= 0 && this.#listeners.length < acceptsPerTurn - 1) {
      const copy = copyDescriptor(descriptor);
      if (copy === undefined) return;
      const further = new NetServer({ allowHalfOpen: true }, (socket: Socket) => this.#take(socket));
      // It has the descriptor of one that listens, so that there is nothing to refuse; and it would do without.
      further.on('error', () => undefined);
      // Of an object with a descriptor Node.js reads no `backlog`, and it would be the shorter one of its own for the queue of all.
      further.listen({ fd: copy }, backlog);
      this.#listeners.push(further);
    }
  }

  /** They listen no more; resolves when the last connection that came in here has ended. */
  async close(): Promise<void> {
    this.#beside = undefined;
    this.#stop();
    await Promise.all(this.#closing);
  }

  #take(socket: Socket): void {
    if (++this.#accepted === maxBesidePerSecond) this.#stop();
    this.#accept(socket);
  }

  #stop(): void {
    for (const listener of this.#listeners.splice(0)) {
      const closed = new Promise<void>((resolve) => void listener.close(() => resolve())).then(
        () => void this.#closing.delete(closed),
      );
      this.#closing.add(closed);
    }
  }
}

/** Node.js has no public way to it; `_handle.fd` has been there since its beginnings. */
function descriptorOf(listener: NetServer): number {
  return (listener as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1;
}
