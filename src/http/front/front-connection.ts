/**
 * One connection in the hands of the front (`front.ts` has the story).
 *
 * It is `open` while all that came on it was the one request that the front serves. At the first byte that is not, it is `leaving`: nothing
 * more is read or begun, and once what has begun is answered, the back gets it with the bytes from there on. When it is `shut`,
 * whatever still arrives is of no interest to anybody.
 */

import type { Caller } from '../../identity/caller.ts';
import { payerOfCaller } from '../../identity/payer-of-caller.ts';
import { KmsError } from '../../kms/errors.ts';
import type { KmsAnswer } from '../../pipeline/service.ts';
import { readShared, startReading, stopReading } from '../../secrets/shared-reading.ts';
import type { Connection, Reader } from '../connections/connection.ts';
import type { PayerAccount } from '../connections/payer-accounts.ts';
import type { Waiting } from '../connections/reading-turns.ts';
import type { FrontParts } from './front-parts.ts';
import { FrontRequest } from './front-request.ts';
import { OrderedAnswers } from './ordered-answers.ts';
import type { HeadReader } from './request-head.ts';

const nothing = Buffer.alloc(0);
/**
 * Several requests of the common size, and any that has a data key or 4 KB to encrypt. What a client sends without waiting is held
 * by the connection, up to this much.
 */
const sharedBytes = 16 * 1024;
const shared = Buffer.alloc(sharedBytes);
/**
 * A head that does not come in so many is the back's. Each piece is read from the start of the head, so a client that sends a byte
 * at a time would cost the square of its length.
 */
const maxHeadPieces = 4;
/** Node waits so much longer than it tells clients, so that none meets a connection that is just being closed. */
const keepAliveBufferMs = 1_000;

export class FrontConnection implements Reader, Waiting {
  readonly account: PayerAccount;
  readonly #parts: FrontParts;
  readonly #head: HeadReader;
  readonly #connection: Connection;
  readonly #answers: OrderedAnswers;
  /** Who sends, as far as it is known before a request. */
  readonly #from: ConstructorParameters<typeof FrontRequest>[3];
  readonly #forget: () => void;
  #state: 'open' | 'leaving' | 'shut' = 'open';
  /** What was read and is not begun: an unfinished head, or what waits for its turn. */
  #held: Buffer = nothing;
  /** In how many pieces the unfinished head has come so far. */
  #headPieces = 0;
  /** The request whose body is not all there, and how much of it is. */
  #arriving: FrontRequest | undefined;
  #arrivedBytes = 0;
  /** What has to come within a time: of a new connection a head, too. */
  #awaits: 'head' | 'body' | 'request' = 'head';
  /** Since when, and when something of it came last; of `performance.now()`. */
  #sinceMs = performance.now();
  #heardAtMs = this.#sinceMs;
  #isStopped = false;
  #isInRow = false;
  /** The client sends no more. */
  #hasEnded = false;

  /** @param forget Called when the front has nothing to do with it any more. */
  constructor(connection: Connection, parts: FrontParts, head: HeadReader, forget: (of: FrontConnection) => void) {
    const { socket, underWay, unread, payer } = connection;
    this.account = underWay.account;
    this.#parts = parts;
    this.#head = head;
    this.#connection = connection;
    this.#answers = new OrderedAnswers(socket, unread, parts.limits.stalledTimeoutMs);
    this.#from = { payer, source: parts.authentication.sourceOf(socket) };
    this.#forget = () => forget(this);
    connection.reader = this;
    unread.attach(socket);
    socket.on('error', destroy);
    socket.on('end', this.#end);
    socket.once('close', this.#forget);
    readShared(socket, shared, (bytes, lengthBytes) => this.#take(bytes, lengthBytes));
  }

  get isHolding(): boolean {
    return this.#held.length > 0;
  }

  wake(): void {
    if (this.#state === 'shut' || this.#isInRow) return;
    if (this.#state === 'leaving') this.#leaveIfDone();
    else if (this.#isStopped && this.#mayBegin()) {
      this.#isInRow = true;
      this.#parts.connections.turns.wait(this);
    }
  }

  takeTurn(): void {
    this.#isInRow = false;
    if (this.#state === 'open' && this.#mayBegin()) this.#beginOne(this.#held, 0, this.#held.length);
  }

  shut(): void {
    this.#state = 'shut';
    this.#hold(nothing, 0, 0);
    this.#stop();
    const request = this.#arriving;
    if (request === undefined) return;
    this.#arriving = undefined;
    request.body.fill(0);
    this.#answers.removeLast();
    this.#connection.underWay.answered(request.body.length);
  }

  discard(): void {
    this.#read();
  }

  /** Is nobody kept waiting when it is closed now? */
  get isIdle(): boolean {
    return this.#connection.underWay.count === 0 && !this.isHolding && !this.#answers.areWaiting;
  }

  close(): void {
    this.#connection.close();
  }

  /** Ends the connection if something takes too long. `nowMs` is of `performance.now()`. */
  check(nowMs: number): void {
    if (this.#state !== 'open') return;
    const { headersTimeoutMs, requestTimeoutMs, keepAliveTimeoutMs, stalledTimeoutMs } = this.#parts.limits;
    const { lastUsedAtMs, inFlight } = this.#connection;
    if (this.#awaits === 'request') {
      if (this.isIdle && nowMs - lastUsedAtMs >= keepAliveTimeoutMs + keepAliveBufferMs) this.close();
      return;
    }
    // It is late because it is not read.
    if (this.#isStopped) return;
    const timeoutMs = this.#awaits === 'body' ? requestTimeoutMs : Math.min(headersTimeoutMs, requestTimeoutMs);
    if (nowMs - this.#sinceMs >= timeoutMs) this.#giveUp(late());
    else if (inFlight === 0 && nowMs - this.#heardAtMs >= stalledTimeoutMs) this.close();
  }

  /** What is not to fail did. */
  #fail(request: FrontRequest, error: unknown): void {
    this.#parts.failed(this.#connection, error);
    request.body.fill(0);
    this.#endRequest(request);
  }

  /** What it counts is given back, once. */
  #endRequest(request: FrontRequest): void {
    if (request.hasEnded) return;
    request.hasEnded = true;
    this.#connection.underWay.answered(request.body.length);
    this.#connection.requestAnswered();
  }

  readonly #end = (): void => {
    if (this.#state !== 'open') return;
    if (this.#arriving !== undefined || this.#headPieces > 0) {
      this.#giveUp(new KmsError('SerializationException', 'The request is not valid HTTP.'));
    } else if (this.#connection.underWay.count === 0) {
      this.#connection.socket.end();
    } else {
      this.#hasEnded = true;
    }
  };

  #take(bytes: Buffer, lengthBytes: number): void {
    if (this.#state !== 'open') return;
    let from = 0;
    if (this.#arriving !== undefined) {
      from = this.#takeBody(this.#arriving, bytes, lengthBytes);
    } else if (this.#held.length > 0) {
      const joined = Buffer.concat([this.#held, bytes.subarray(0, lengthBytes)]);
      this.#held.fill(0);
      this.#held = joined;
      if (this.#mayBegin()) this.#beginOne(joined, 0, joined.length);
      else this.#stop();
      return;
    } else if (this.#mayBegin()) {
      this.#beginOne(bytes, 0, lengthBytes);
      return;
    }
    // The one that was complete now may have failed.
    if (from === lengthBytes || this.#state !== 'open') return;
    this.#hold(bytes, from, lengthBytes);
    this.#stop();
    this.wake();
  }

  #mayBegin(): boolean {
    // Of whoever is gone already nothing is begun.
    if (this.#connection.socket.destroyed) return false;
    return !this.#answers.areWaiting && !this.#connection.unread.isTooMuch && this.#connection.underWay.mayBegin();
  }

  /** Begins the request at `from`, if it is the front's, and holds the rest of the bytes, which are all that there are. */
  #beginOne(bytes: Buffer, from: number, to: number): void {
    const head = this.#head;
    const outcome = head.read(bytes, from, to);
    if (outcome === 'partial' && this.#headPieces < maxHeadPieces) {
      this.#headPieces++;
      this.#await('head');
      this.#hold(bytes, from, to);
      this.#read();
      return;
    }
    const { underWay } = this.#connection;
    const { bodyAt, bodyBytes } = head;
    if (outcome !== 'whole' || bodyBytes > this.#parts.limits.maxBodyBytes || !underWay.reserve(bodyBytes)) {
      this.#leave(bytes, from, to);
      return;
    }
    underWay.begin();
    const bodyEnd = Math.min(to, bodyAt + bodyBytes);
    const isWhole = bodyEnd === bodyAt + bodyBytes;
    const request = new FrontRequest(head, isWhole, this.#connection.socket, this.#from);
    this.#answers.add(request);
    bytes.copy(request.body, 0, bodyAt, bodyEnd);
    this.#arrivedBytes = bodyEnd - bodyAt;
    this.#headPieces = 0;
    if (this.#arrivedBytes < bodyBytes) {
      this.#arriving = request;
      this.#await('body');
    } else {
      this.#awaits = 'request';
    }
    this.#hold(bytes, bodyEnd, to);
    if (this.isHolding) this.#stop();
    else this.#read();
    if (this.#arriving === undefined) this.#run(request);
    this.wake();
  }

  /** The rest of a request has to come, in a time that runs since its first byte came. */
  #await(what: 'head' | 'body'): void {
    this.#heardAtMs = performance.now();
    if (this.#awaits === 'request') this.#sinceMs = this.#heardAtMs;
    this.#awaits = what;
  }

  /** @returns Where the body ends. */
  #takeBody(request: FrontRequest, bytes: Buffer, lengthBytes: number): number {
    const { body } = request;
    const end = Math.min(lengthBytes, body.length - this.#arrivedBytes);
    bytes.copy(body, this.#arrivedBytes, 0, end);
    this.#arrivedBytes += end;
    if (this.#arrivedBytes < body.length) {
      this.#await('body');
    } else {
      this.#arriving = undefined;
      this.#awaits = 'request';
      this.#run(request);
    }
    return end;
  }

  /** Keeps these bytes, and no others. */
  #hold(bytes: Buffer, from: number, to: number): void {
    const before = this.#held;
    if (bytes === before) {
      before.fill(0, 0, from);
      this.#held = from < to ? before.subarray(from) : nothing;
      return;
    }
    this.#held = from < to ? Buffer.from(bytes.subarray(from, to)) : nothing;
    before.fill(0);
  }

  #leave(bytes: Buffer, from: number, to: number): void {
    this.#state = 'leaving';
    this.#hold(bytes, from, to);
    this.#stop();
    this.#leaveIfDone();
  }

  #leaveIfDone(): void {
    if (this.#connection.underWay.count > 0 || this.#answers.areWaiting) return;
    const { socket } = this.#connection;
    if (socket.destroyed) return;
    this.#state = 'shut';
    socket.removeListener('error', destroy);
    socket.removeListener('end', this.#end);
    socket.removeListener('close', this.#forget);
    this.#forget();
    const held = this.#held;
    this.#held = nothing;
    this.#read();
    this.#parts.handOver(this.#connection, held);
  }

  #run(request: FrontRequest): void {
    this.#connection.requestArrived();
    let caller: Caller | Promise<Caller>;
    try {
      caller = this.#parts.authentication.callerOf(request, request.body, 'kms');
    } catch (error) {
      this.#refuseUnproven(request, error);
      return;
    }
    if (caller instanceof Promise) {
      caller.then(
        (proven) => this.#serve(request, proven),
        (error: unknown) => this.#refuseUnproven(request, error),
      );
    } else {
      this.#serve(request, caller);
    }
  }

  /** Never throws. */
  #serve(request: FrontRequest, caller: Caller): void {
    try {
      this.#answerWith(request, this.#served(request, caller));
    } catch (error) {
      this.#fail(request, error);
    }
  }

  #served(request: FrontRequest, caller: Caller): Promise<KmsAnswer> {
    // Who was known when he connected pays all the time.
    if (caller.proof.kind !== 'unix') request.payer = payerOfCaller(caller);
    return this.#parts.run(request, caller);
  }

  /** Never throws. */
  #refuseUnproven(request: FrontRequest, error: unknown): void {
    try {
      this.#answerWith(request, this.#refused(request, error));
    } catch (failure) {
      this.#fail(request, failure);
    }
  }

  #refused(request: FrontRequest, error: unknown): Promise<KmsAnswer> {
    const { body, requestId, receivedAtMs, sourceIPAddress, userAgent, payer, operationName } = request;
    body.fill(0);
    const origin = { requestId, receivedAtMs, sourceIPAddress, userAgent, payer };
    const refusal = this.#parts.unproven(this.#connection, error);
    return this.#parts.service.refuse({ ...origin, operationName, caller: null }, refusal);
  }

  /** It does not reject, by the service's promise; what does all the same ends the connection without an answer. */
  #answerWith(request: FrontRequest, outcome: Promise<KmsAnswer>): void {
    const fail = (error: unknown): void => this.#fail(request, error);
    outcome.then((answer) => {
      try {
        this.#answer(request, answer);
      } catch (error) {
        fail(error);
      }
    }, fail);
  }

  #answer(request: FrontRequest, outcome: KmsAnswer): void {
    const connection = this.#connection;
    const { socket, underWay } = connection;
    let text = '';
    if (!socket.destroyed) {
      const isLast = this.#answers.isLast(request) && (!this.isHolding || this.#headPieces > 0);
      request.closes = this.#parts.endsConnection(connection, isLast);
      text = this.#parts.answerText(request.requestId, outcome, request.closes);
      if (request.closes) this.shut();
    }
    this.#answers.give(request, text);
    this.#endRequest(request);
    if (this.#hasEnded && underWay.count === 0) socket.destroySoon();
    else this.wake();
  }

  #giveUp(error: KmsError): void {
    this.shut();
    this.#parts.refuse(this.#connection, error);
  }

  #stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    stopReading(this.#connection.socket);
  }

  #read(): void {
    if (!this.#isStopped) return;
    this.#isStopped = false;
    // What is awaited has its time from now on.
    this.#sinceMs = performance.now();
    this.#heardAtMs = this.#sinceMs;
    startReading(this.#connection.socket);
  }
}

function late(): KmsError {
  return new KmsError('SerializationException', 'The request did not arrive completely in time.');
}

function destroy(this: { destroy(): void }): void {
  this.destroy();
}
