/**
 * The front: takes the bytes of connections itself, and serves the one request that there are thousands of a second.
 *
 * Why: `node:http` makes a parser, two streams, some twenty listeners and a dozen of objects for what is, of a program that uses keys,
 * always the same: `POST /`, a target, a body of a few hundred bytes. That was a quarter of the CPU of the API process. The front
 * looks at each byte once, makes one object, and writes the answer as one text.
 *
 * How it stays small and right: it is strict and narrow. What it takes is a grammar of one page (`request-head.ts`), and
 * everything else goes, connection and bytes, to `node:http` behind it (the *back*), for good, and is answered there as if there were no front:
 *
 *     accepted ─► front ──── the one request, any number of times ───► KmsService.run ─► answer
 *                  └─ anything else: once what has begun is answered ─► gate ─► node:http ─► routes
 *
 * So of two programs one of which asks for `/health`, or says `Expect`, or sends its head a byte at a time, the one is faster, and
 * nothing else tells them apart: `test/http/front.test.ts` sends thousands of byte streams to a server with the front and to one
 * without, and compares answers and records.
 *
 * On both sides hold, because both count on the same `Connection`: how many connections and whose, requests without an answer, bytes of
 * bodies and of answers not taken, turns of those who send without waiting (`connections/`). What Node has timers for, one timer for
 * all connections looks after here: heads and bodies that do not come, connections that are idle.
 *
 * What is read is in one buffer for all connections and zeroed before the next is read (`secrets/shared-reading.ts`). Bodies
 * are copied into memory of their own, which whoever runs the request wipes. Of a connection that waits the rest is held: of what was read
 * at once, 16 KB.
 *
 * A request that needs the back waits for those before it on its connection, where the back alone would have begun it beside
 * them. Nothing that a client can see follows from that: answers come in the order of requests.
 */

import { canReadShared } from '../../secrets/shared-reading.ts';
import type { Connection } from '../connections/connection.ts';
import { FrontConnection } from './front-connection.ts';
import type { FrontParts } from './front-parts.ts';
import { HeadReader } from './request-head.ts';

/** Of one listener. */
export class Front {
  readonly #parts: FrontParts;
  readonly #head: HeadReader;
  readonly #connections = new Set<FrontConnection>();
  readonly #timer: NodeJS.Timeout;

  constructor(parts: FrontParts) {
    this.#parts = parts;
    const { maxHeaderBytes, headersTimeoutMs, requestTimeoutMs, keepAliveTimeoutMs, stalledTimeoutMs } = parts.limits;
    this.#head = new HeadReader({ wantsHeaders: parts.authentication.readsHeaders, maxHeaderBytes });
    const shortestMs = Math.min(headersTimeoutMs, requestTimeoutMs, keepAliveTimeoutMs, stalledTimeoutMs);
    const checkEveryMs = Math.max(100, Math.min(shortestMs / 4, 2_000));
    this.#timer = setInterval(() => this.#check(), checkEveryMs).unref();
  }

  /**
   * Takes a connection of which nothing was read.
   * @returns Whether it did: not every version of Node.js can.
   */
  serve(connection: Connection): boolean {
    if (!canReadShared(connection.socket)) return false;
    this.#connections.add(
      new FrontConnection(connection, this.#parts, this.#head, (of) => void this.#connections.delete(of)),
    );
    return true;
  }

  /** Those on which nobody waits for anything. */
  closeIdle(): void {
    for (const connection of this.#connections) if (connection.isIdle) connection.close();
  }

  /** All that the back does not have. */
  closeAll(): void {
    for (const connection of this.#connections) connection.close();
  }

  /** There are no connections any more, and no new ones. */
  end(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    const nowMs = performance.now();
    for (const connection of this.#connections) connection.check(nowMs);
  }
}
