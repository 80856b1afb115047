/**
 * One call from the moment a caller makes it to the moment its promise settles, and lists of such calls.
 *
 * INVARIANT: a call settles exactly once (`succeed` or `fail`); whoever takes it out of a list or of a lane either settles
 * it or hands it on. Its fields are the caller's memory (plaintexts among them) and are not read after it has settled.
 */

import type { Payer } from '../kms/payer.ts';
import type { CallCost } from './call-costs.ts';
import { type Call, type CallName, calls } from './calls.ts';
import { KeyStoreError, type KeyStoreFailure } from './key-store.ts';

/** A reply that the call cannot have: its host is broken. */
export class BadReplyError extends Error {
  override readonly name = 'BadReplyError';
}

/** What carries calls to a host: whoever gets a reply can send the next call the same way. */
export interface CallLane {
  send(call: PendingCall): void;
}

export interface CallOutline {
  readonly name: CallName;
  /** As the call's row in `calls.ts` lists them. */
  readonly fields: readonly Uint8Array[];
  readonly deadlineAtMs: number;
  /**
   * Meant for one lane, whatever becomes of it: when the lane is lost the call is lost with it and never goes elsewhere.
   */
  readonly addressed: boolean;
  /** Goes before the calls that are not, to a lane that never generates. */
  readonly isPrompt?: boolean;
  /** Who pays for it; absent: the daemon. */
  readonly payer?: Payer | undefined;
  /** What it is thought to take; absent: what is not known and not learnt. */
  readonly cost?: CallCost;
  /** Keeps a lane busy for much longer than most calls. */
  readonly isDear?: boolean;
  /** Takes what it keeps of the reply's fields (views) and resolves the promise. Throws `BadReplyError`. */
  readonly succeed: (fields: readonly Buffer[], lane: CallLane) => void;
  readonly fail: (error: Error) => void;
}

export class PendingCall {
  readonly name: CallName;
  readonly number: number;
  readonly repeatable: boolean;
  readonly changesKeys: boolean;
  readonly generates: boolean;
  readonly fields: readonly Uint8Array[];
  /** Until when it may wait for its turn; a lane that makes progress is waited for longer. */
  deadlineAtMs: number;
  readonly addressed: boolean;
  readonly isPrompt: boolean;
  readonly payer: Payer | undefined;
  readonly cost: CallCost;
  readonly isDear: boolean;
  /** What it was thought to take when it was sent. */
  expectedMs = 0;
  /** Was a lane lost under it? It is sent once more then, alone on its lane. */
  repeated = false;
  /** How often a busy device refused it. */
  busyReplies = 0;
  /** The next in the list that it is in. */
  next: PendingCall | undefined = undefined;
  readonly #replyFields: number;
  readonly #succeed: CallOutline['succeed'];
  readonly #fail: CallOutline['fail'];

  constructor({
    name,
    fields,
    deadlineAtMs,
    addressed,
    isPrompt = false,
    payer,
    succeed,
    fail,
    ...costs
  }: CallOutline) {
    const call: Call = calls[name];
    this.name = name;
    this.number = call.number;
    this.repeatable = call.repeatable;
    this.changesKeys = call.changesKeys ?? false;
    this.generates = call.generates ?? false;
    this.fields = fields;
    this.deadlineAtMs = deadlineAtMs;
    this.addressed = addressed;
    this.isPrompt = isPrompt;
    this.payer = payer;
    this.cost = costs.cost ?? { ms: 0 };
    this.isDear = costs.isDear ?? false;
    this.#replyFields = call.reply.length;
    this.#succeed = succeed;
    this.#fail = fail;
  }

  /** Throws `BadReplyError`, not having settled, when the reply is not one to this call. */
  succeed(fields: readonly Buffer[], lane: CallLane): void {
    if (fields.length !== this.#replyFields)
      throw new BadReplyError(`a reply to \`${this.name}\` has ${this.#replyFields} fields, not ${fields.length}`);
    this.#succeed(fields, lane);
  }

  fail(failure: KeyStoreFailure, message: string): void {
    this.#fail(new KeyStoreError(failure, `${this.name}: ${message}`));
  }
}

/** First in, first out. Linked through the calls themselves, so that it costs no memory of its own. */
export class CallList {
  #first: PendingCall | undefined = undefined;
  #last: PendingCall | undefined = undefined;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get first(): PendingCall | undefined {
    return this.#first;
  }

  push(call: PendingCall): void {
    if (this.#last === undefined) this.#first = call;
    else this.#last.next = call;
    this.#last = call;
    this.#count++;
  }

  /** Puts a call before all others. */
  unshift(call: PendingCall): void {
    call.next = this.#first;
    this.#first = call;
    this.#last ??= call;
    this.#count++;
  }

  shift(): PendingCall | undefined {
    const call = this.#first;
    if (call === undefined) return undefined;
    this.#first = call.next;
    if (this.#first === undefined) this.#last = undefined;
    call.next = undefined;
    this.#count--;
    return call;
  }

  /** Takes out and returns all. */
  drain(): PendingCall[] {
    const all: PendingCall[] = [];
    for (let call = this.shift(); call !== undefined; call = this.shift()) all.push(call);
    return all;
  }
}
