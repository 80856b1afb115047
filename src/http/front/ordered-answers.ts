/**
 * Writes the answers of one connection in the order of its requests (RFC 9112, section 9.3.2), in as few writes as there can be:
 * what is answered in one turn of the event loop is one write.
 *
 * An answer that the kernel does not take at once counts as unread until it does (`unread-answers.ts`), as does one that waits for
 * those before it. A client that takes nothing for too long is gone.
 */

import type { Socket } from 'node:net';
import { writeNow } from '../../secrets/shared-reading.ts';
import type { UnreadAnswers } from '../connections/unread-answers.ts';
import type { FrontRequest } from './front-request.ts';

/** What is kept of a write beside its text. */
const overheadBytes = 1024;

export class OrderedAnswers {
  readonly #socket: Socket;
  readonly #unread: UnreadAnswers;
  readonly #stalledTimeoutMs: number;
  #first: FrontRequest | undefined;
  #last: FrontRequest | undefined;
  /** What is written at the end of this turn. */
  #text = '';
  #unreadWrites = 0;
  #isListening = false;

  constructor(socket: Socket, unread: UnreadAnswers, stalledTimeoutMs: number) {
    this.#socket = socket;
    this.#unread = unread;
    this.#stalledTimeoutMs = stalledTimeoutMs;
  }

  /** Does something wait in this process that the client could take? */
  get areWaiting(): boolean {
    return this.#unreadWrites > 0;
  }

  isLast(request: FrontRequest): boolean {
    return this.#last === request;
  }

  /** A request has begun. */
  add(request: FrontRequest): void {
    if (this.#last === undefined) this.#first = request;
    else this.#last.next = request;
    this.#last = request;
  }

  /** The one that began last is not complete, and has no answer. */
  removeLast(): void {
    let before: FrontRequest | undefined;
    for (let at = this.#first; at !== undefined && at !== this.#last; at = at.next) before = at;
    if (before === undefined) this.#first = undefined;
    else before.next = undefined;
    this.#last = before;
  }

  /** @param answer Empty where nobody can have it. */
  give(request: FrontRequest, answer: string): void {
    request.answer = answer;
    if (request !== this.#first) {
      this.#unread.waits(answer.length);
      return;
    }
    const isScheduled = this.#text !== '';
    let waitedBytes = 0;
    let next: FrontRequest | undefined = request;
    while (next?.answer !== undefined) {
      if (next !== request) waitedBytes += next.answer.length;
      this.#text += next.answer;
      if (next.closes) {
        this.#flush();
        // Whatever is behind it has no answer any more.
        this.#socket.destroySoon();
        return;
      }
      next = next.next;
    }
    this.#first = next;
    if (next === undefined) {
      this.#last = undefined;
      this.#flush();
    } else if (!isScheduled) {
      // Others may be answered in this turn.
      process.nextTick(() => this.#flush());
    }
    if (waitedBytes > 0) this.#unread.taken(waitedBytes);
  }

  #flush(): void {
    const text = this.#text;
    if (text === '') return;
    this.#text = '';
    const socket = this.#socket;
    if (socket.destroyed) return;
    // What is one byte a character is copied as it is.
    const isPlain = Buffer.byteLength(text) === text.length;
    const writtenBytes = isPlain ? writeNow(socket, text) : 0;
    if (writtenBytes === text.length) return;
    socket.write(text.slice(writtenBytes), isPlain ? 'latin1' : 'utf8');
    // The usual one is with the kernel by now.
    if (socket.writableLength > 0) this.#waitUntilTaken(text.length + overheadBytes);
  }

  #waitUntilTaken(bytes: number): void {
    const socket = this.#socket;
    this.#unreadWrites++;
    this.#unread.waits(bytes);
    if (!this.#isListening) {
      this.#isListening = true;
      socket.on('timeout', () => {
        if (this.#unreadWrites > 0) socket.destroy();
      });
    }
    socket.setTimeout(this.#stalledTimeoutMs);
    // Comes back when what is before it was taken.
    socket.write('', (error) => {
      if (error) return; // The client is gone, and with the connection all that is counted.
      if (--this.#unreadWrites === 0) socket.setTimeout(0);
      this.#unread.taken(bytes);
    });
  }
}
