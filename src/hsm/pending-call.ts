/**
 * One call from the moment a caller makes it to the moment its promise settles, and lists of such calls.
 *
 * INVARIANT: a call settles exactly once (`succeed` or `fail`); whoever takes it out of a list or of a lane either settles
 * it or hands it on. Its fields are the caller's memory (plaintexts among them) and are not read after it has settled.
 */

import type { Payer } from '../kms/payer.ts';
import type { CallCost } from './call-costs.ts';
import { failed } from './call-words.ts';
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
  readonly isPrompt: boolean;
  /** Who pays for it; `undefined`: the daemon. */
  readonly payer: Payer | undefined;
  /** What it is thought to take. */
  readonly cost: CallCost;
  /** Keeps a lane busy for much longer than most calls. */
  readonly isDear: boolean;
  /** By what name a lane keeps the wrapped key that it uses; `undefined`: it uses none. */
  readonly wrappedKey: string | undefined;
  /** Takes what it keeps of the reply's fields (views). Throws `BadReplyError`. Its result is that of the call's promise. */
  readonly decode: (fields: readonly Buffer[], lane: CallLane) => unknown;
  readonly resolve: (result: never) => void;
  readonly reject: (error: Error) => void;
  /** Is told that the call has settled, if somebody wants to know. */
  readonly watch: CallWatch | null;
}

export interface CallWatch {
  settled(call: PendingCall): void;
}

/** There is one for each request: its members are assigned one by one, because that is what V8 makes cheap. */
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
  readonly wrappedKey: string | undefined;
  /** What it was thought to take when it was sent. */
  expectedMs = 0;
  /** Did a reply say that it succeeded? */
  succeeded = false;
  /** Was a lane lost under it? It is sent once more then, alone on its lane. */
  repeated = false;
  /** How often a busy device refused it. */
  busyReplies = 0;
  /** In the frames of the lane that it was sent on. */
  requestId = 0;
  /** The next in the list that it is in. */
  next: PendingCall | undefined = undefined;
  readonly #replyFields: number;
  readonly #decode: CallOutline['decode'];
  readonly #resolve: CallOutline['resolve'];
  readonly #reject: CallOutline['reject'];
  readonly #watch: CallWatch | null;

  constructor(outline: CallOutline) {
    const call: Call = calls[outline.name];
    this.name = outline.name;
    this.number = call.number;
    this.repeatable = call.repeatable;
    this.changesKeys = call.changesKeys === true;
    this.generates = call.generates === true;
    this.fields = outline.fields;
    this.deadlineAtMs = outline.deadlineAtMs;
    this.addressed = outline.addressed;
    this.isPrompt = outline.isPrompt;
    this.payer = outline.payer;
    this.cost = outline.cost;
    this.isDear = outline.isDear;
    this.wrappedKey = outline.wrappedKey;
    this.#replyFields = call.reply.length;
    this.#decode = outline.decode;
    this.#resolve = outline.resolve;
    this.#reject = outline.reject;
    this.#watch = outline.watch;
  }

  /** Throws `BadReplyError`, not having settled, when the reply is not one to this call. */
  succeed(fields: readonly Buffer[], lane: CallLane): void {
    if (fields.length !== this.#replyFields)
      throw new BadReplyError(`a reply to \`${this.name}\` has ${this.#replyFields} fields, not ${fields.length}`);
    // `never`, because what `decode` gives is what the promise of the same call takes; whoever made both saw to that.
    this.#resolve(this.#decode(fields, lane) as never);
    this.succeeded = true;
    this.#watch?.settled(this);
  }

  fail(failure: KeyStoreFailure, message: string): void {
    this.#reject(new KeyStoreError(failure, failed(this.name, message)));
    this.#watch?.settled(this);
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
