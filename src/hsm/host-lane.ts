/**
 * The API process's end of one lane: sends calls, matches replies to them, and notices when it cannot.
 *
 * Calls of one turn of the event loop leave in one write, and the replies of one read are dealt with together: that,
 * and not the bytes, is what a pipe costs. While the host has many more calls than wait here, they wait for others to
 * join them: the host deals with one call after the other, so nobody is served later, and it is woken less often. A lane
 * decides nothing about calls that fail or are lost; it tells its owner.
 * The peer is trusted not to lie but may be broken: a frame that is none, a reply to a call that is not in flight or
 * that does not fit it, and the owner is told that the host is broken.
 *
 * Plaintexts pass through here: what was read is wiped as soon as its replies are dealt with, what was written as soon
 * as the system took it, which mostly is at once.
 */

import type { Socket } from 'node:net';
import { canReadShared, readShared, writeNow } from '../secrets/shared-reading.ts';
import { learnCosts } from './call-costs.ts';
import { type CallName, replyCodes } from './calls.ts';
import { type Frame, FrameError, FrameReader, FrameWriter } from './frames.ts';
import { BadReplyError, type CallLane, CallList, PendingCall } from './pending-call.ts';

/** A message of a host is cut to this: it goes to the log and into errors. */
const maxMessageCharacters = 500;
const maxRequestId = 0xffff_ffff;
/**
 * How many times as many calls the host may have as leave with the next write. With 1 the host runs dry before they
 * come, with no bound each leaves alone; 3 gave a third more requests/s than either (16 connections, measured).
 */
const worthwhileFactor = 3;

/** The replies to as many calls as a lane has, of the common size. One buffer for all lanes: what is read is dealt with at once. */
const readBytes = 64 * 1024;
const readBuffer = Buffer.alloc(readBytes);

export interface LaneOwner {
  /** Replies came, so there may be room for other calls. */
  replied(lane: HostLane): void;
  /** The reply is a failure. The call is not in the lane any more and has not settled. */
  refused(lane: HostLane, call: PendingCall, code: number, message: string): void;
  /** The peer broke the protocol. What follows is `lost`, when the owner ends the host. */
  broken(lane: HostLane, reason: string): void;
  /** The lane is over, with these calls on it. Told once. */
  lost(lane: HostLane, calls: readonly PendingCall[]): void;
}

export class HostLane implements CallLane {
  readonly #socket: Socket;
  readonly #owner: LaneOwner;
  readonly #reader = new FrameReader();
  readonly #writer = new FrameWriter();
  /** In the order in which they were sent, which is that of the replies. */
  readonly #calls = new CallList();
  /** Those whose replies came with one read. */
  readonly #answered: PendingCall[] = [];
  /** How many of the calls are allowed to take longer than others. */
  #generations = 0;
  /** How many of them have it to themselves. */
  #dearCount = 0;
  /** What they are thought to take, all together. */
  #backlogMs = 0;
  #lastRequestId = 0;
  #progressAtMs = 0;
  /** How many of the calls are not in the pipe yet: the last ones. */
  #unsent = 0;
  #flushIsDue = false;
  #socketIsFull = false;
  #state: 'open' | 'broken' | 'over' = 'open';

  constructor(socket: Socket, owner: LaneOwner) {
    this.#socket = socket;
    this.#owner = owner;
    if (canReadShared(socket)) {
      readShared(socket, readBuffer, (bytes, lengthBytes) => this.#read(bytes.subarray(0, lengthBytes)));
    } else {
      socket.on('data', (chunk: Buffer) => {
        this.#read(chunk);
        chunk.fill(0);
      });
    }
    socket.on('drain', () => {
      this.#socketIsFull = false;
      this.#flush();
    });
    // The host's end is seen as an end of file, an error or both; `close` follows each of them.
    socket.on('error', () => undefined);
    socket.on('end', () => socket.destroy());
    socket.on('close', () => this.#lose());
  }

  /** Calls on the lane: sent, or about to be in this turn of the event loop. */
  get callCount(): number {
    return this.#calls.count;
  }

  /** For how long its calls are thought to keep it busy, but for those that generate. */
  get backlogMs(): number {
    return this.#backlogMs;
  }

  /** Has it a call that keeps it busy for much longer than most? */
  get hasDear(): boolean {
    return this.#dearCount > 0;
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /** For how long there have been calls on the lane and no reply. */
  silentMs(nowMs: number): number {
    return this.#calls.count === 0 ? 0 : nowMs - this.#progressAtMs;
  }

  /** Is one of the calls allowed to take longer than others? */
  get isGenerating(): boolean {
    return this.#generations > 0;
  }

  /** Whoever sends on a lane that is not open gets the call back as lost, as if it had been on the way. */
  send(call: PendingCall): void {
    if (this.#state !== 'open') {
      this.#owner.lost(this, [call]);
      return;
    }
    const requestId = this.#lastRequestId === maxRequestId ? 0 : this.#lastRequestId + 1;
    try {
      this.#writer.append(requestId, call.number, call.fields);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      call.fail('internal', error.message);
      return;
    }
    this.#lastRequestId = requestId;
    if (this.#calls.count === 0) this.#progressAtMs = performance.now();
    call.requestId = requestId;
    this.#calls.push(call);
    if (call.generates) this.#generations++;
    else this.#expect(call);
    this.#unsent++;
    this.#arrangeFlush();
  }

  /** No more calls after those sent. The host answers them and ends. */
  end(): void {
    this.#flush();
    this.#socket.end();
  }

  /** Ends the lane now, whatever is on it. */
  destroy(): void {
    this.#socket.destroy();
    this.#lose();
  }

  readonly #flushWhenDue = (): void => {
    this.#flushIsDue = false;
    this.#flushWhenWorthwhile();
  };

  /** As `#flush`, once the host has not too much to do already for what there is to send. */
  #flushWhenWorthwhile(): void {
    const callsOfHost = this.#calls.count - this.#unsent;
    if (callsOfHost <= worthwhileFactor * this.#unsent) this.#flush();
  }

  #flush(): void {
    if (this.#state !== 'open' || this.#socketIsFull || this.#writer.pendingBytes === 0) return;
    this.#unsent = 0;
    const writtenBytes = writeNow(this.#socket, this.#writer.view());
    if (writtenBytes === this.#writer.pendingBytes) {
      this.#writer.wipe();
      return;
    }
    const rest = this.#writer.take(writtenBytes);
    // The callback also runs for bytes that were never sent, with an error, when the socket is destroyed.
    this.#socketIsFull = !this.#socket.write(rest, () => rest.fill(0));
  }

  #read(chunk: Buffer): void {
    if (this.#state !== 'open') return;
    const nowMs = performance.now();
    const elapsedMs = nowMs - this.#progressAtMs;
    this.#progressAtMs = nowMs;
    this.#reader.push(chunk);
    try {
      for (let frame = this.#reader.next(); frame !== undefined; frame = this.#reader.next()) {
        this.#settle(frame);
        if (!this.isOpen) return; // What a failure made of the host ends the lane under our feet.
      }
      this.#reader.wipeRead();
    } catch (error) {
      if (!(error instanceof FrameError || error instanceof BadReplyError)) throw error;
      this.#state = 'broken';
      this.#owner.broken(this, error.message);
      return;
    }
    learnCosts(this.#answered, elapsedMs);
    this.#answered.length = 0;
    this.#owner.replied(this);
    // What the replies made room for leaves with what waited, at the end of this turn.
    if (this.#unsent > 0) this.#arrangeFlush();
  }

  #arrangeFlush(): void {
    if (this.#flushIsDue || this.#socketIsFull) return;
    this.#flushIsDue = true;
    setImmediate(this.#flushWhenDue);
  }

  #settle({ requestId, code, fields }: Frame): void {
    const call = this.#calls.first;
    if (call?.requestId !== requestId)
      throw new BadReplyError(`a reply to request ${requestId}, which is not the next in flight`);
    this.#answered.push(call);
    if (code === replyCodes.success) {
      call.succeed(fields, this);
      this.#removeFirst(call);
      return;
    }
    const message = fields[0];
    if (message === undefined || fields.length !== 1)
      throw new BadReplyError(`a failure has one field, its message, not ${fields.length}`);
    this.#removeFirst(call);
    this.#owner.refused(this, call, code, message.toString('utf8').slice(0, maxMessageCharacters));
  }

  #removeFirst(call: PendingCall): void {
    this.#calls.shift();
    if (call.generates) this.#generations--;
    // Whatever is left then generates: what was added and taken away again leaves no residue behind.
    else if (this.#calls.count === this.#generations) this.#backlogMs = this.#dearCount = 0;
    else {
      this.#backlogMs -= call.expectedMs;
      if (call.isDear) this.#dearCount--;
    }
  }

  #expect(call: PendingCall): void {
    call.expectedMs = call.cost.ms;
    this.#backlogMs += call.expectedMs;
    if (call.isDear) this.#dearCount++;
  }

  #lose(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#reader.wipe();
    this.#writer.wipe();
    const calls = this.#calls.drain();
    this.#generations = 0;
    this.#dearCount = 0;
    this.#backlogMs = 0;
    this.#owner.lost(this, calls);
  }
}

/**
 * One call to this lane and no other. It has no deadline of its own: what bounds it is the watch over silent lanes.
 * Rejects with `unavailable` when the lane is lost.
 */
export function callOn<Result>(
  lane: CallLane,
  name: CallName,
  fields: readonly Uint8Array[],
  decode: (fields: readonly Buffer[], lane: CallLane) => Result,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    // Nobody pays for it, and nothing is learnt of it.
    const costs = { payer: undefined, cost: { ms: 0 }, isDear: false };
    const addressed = { deadlineAtMs: Infinity, addressed: true, isPrompt: false, wrappedKey: undefined, watch: null };
    lane.send(new PendingCall({ name, fields, ...addressed, ...costs, decode, resolve, reject }));
  });
}
