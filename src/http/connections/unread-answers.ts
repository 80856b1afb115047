/**
 * Answers of one connection that are written and not taken: how many bytes they are, and which connection ends for them.
 *
 * The kernel takes some 200 KB of answers for a client who does not read; what is more waits in the daemon's memory. While more
 * than a little waits (`isTooMuch`, asked by the gate) no further request is begun, so that what waits for one connection is
 * the answers to what it had under way. Where all of a payer's connections come to more than his budget, the one with the most
 * is cut off. (One that takes nothing at all ends after `stalledTimeoutMs` in any case.)
 */

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Hoarder, PayerAccount } from './payer-accounts.ts';

/** Of one connection. Less than the 64 KB from which on Node itself would stop in the middle of a request. */
const tooMuchBytes = 32 * 1024;
/** What the headers of an answer have at most, and what is kept of it beside. */
const overheadBytes = 1024;

export class UnreadAnswers implements Hoarder {
  /** Once HTTP is spoken. */
  #socket: Socket | undefined;
  readonly #account: PayerAccount;
  /** Called when less waits than before. */
  readonly #wasTaken: () => void;
  readonly #cutOff: () => void;
  #bytes = 0;
  #isClosed = false;

  constructor(account: PayerAccount, events: { wasTaken: () => void; cutOff: () => void }) {
    this.#account = account;
    this.#wasTaken = events.wasTaken;
    this.#cutOff = events.cutOff;
  }

  attach(socket: Socket): void {
    this.#socket = socket;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isTooMuch(): boolean {
    return this.#bytes >= tooMuchBytes || this.#socket?.writableNeedDrain === true;
  }

  /** An answer was given to `response`, whose body has so many bytes. */
  written(response: ServerResponse, bodyBytes: number): void {
    // The usual one is with the kernel by now. One without a socket waits for those before it.
    const isTaken = response.socket !== null && this.#socket?.writableLength === 0;
    if (isTaken) return;
    const bytes = bodyBytes + overheadBytes;
    this.waits(bytes);
    response.once('finish', () => this.taken(bytes));
  }

  /** So many bytes of answers cannot be given to the kernel yet. */
  waits(bytes: number): void {
    if (this.#isClosed) return;
    this.#add(bytes);
    this.#cutOffWhoeverHasMost();
  }

  /** So many of those that waited were given to the kernel. */
  taken(bytes: number): void {
    if (this.#isClosed) return;
    this.#add(-bytes);
    this.#wasTaken();
  }

  cutOff(): void {
    this.closed();
    this.#cutOff();
  }

  /** The connection is closed: nothing waits for it any more. */
  closed(): void {
    if (this.#isClosed) return;
    this.#add(-this.#bytes);
    this.#isClosed = true;
  }

  #add(bytes: number): void {
    this.#bytes += bytes;
    this.#account.unreadBytes += bytes;
    if (this.#bytes > 0) this.#account.unread.add(this);
    else this.#account.unread.delete(this);
  }

  #cutOffWhoeverHasMost(): void {
    const { unread, budget } = this.#account;
    while (this.#account.unreadBytes > budget.unreadBytesPerPayer) {
      let most: Hoarder = this;
      for (const hoarder of unread) if (hoarder.bytes > most.bytes) most = hoarder;
      most.cutOff();
    }
  }
}
