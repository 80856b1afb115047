/**
 * All calls of one key store, and when each has its turn: queues, bounds, deadlines, and what becomes of a lost call.
 *
 * `lane-choice.ts` says which lane a call goes to; each has at most `maxInLane`, and no more than takes `maxLaneMs`; the rest wait
 * here, and go in the order of how much of the HSM their payers had (`fair-calls.ts`). Of the calls that make or destroy keys one is on
 * its way at a time (`Call.changesKeys` says why). Those that generate take seconds each: they wait in lists of their own, and a lane has
 * one of them at most. So what stands before anybody else's call is one generation, if any, and not as many as somebody cares to ask for.
 * Prompt calls, on which everybody's changes depend, wait for nobody's calls but those that their lane has already.
 * What ends a call, beside its reply:
 *
 * - *Its host is lost.* A repeatable call is sent once more, to another host or to the next one; any other fails with
 *   `unavailable`, because the token may or may not have done it. A repeated call travels alone on its lane: if it is the
 *   one that crashes hosts, it takes no bystander along the second time.
 * - *Its host hung*: a lane with calls was silent for `callDeadlineMs`, or for `generationDeadlineMs` while a call on it generates a
 *   key. Calls that are past their deadline then fail with `timeout` and are not repeated. The call that hung is always among them: a
 *   host that reads it stands still from then on, so it is at least as old as the silence. It therefore never hangs a second host.
 * - *It waited here until its deadline* while lanes worked: `busy`, not having been sent. What generates, and what waits
 *   for a generation because it changes keys as well, waits for `generationDeadlineMs`.
 * - *There was no lane*, and none came within `reconnectWaitMs` of the loss of the last one: `unavailable`. A call that
 *   comes after that fails at once.
 * - *Nothing is generated any more* (`stopGenerating`): calls that do fail with `unavailable`, and those on a lane take their host along.
 * - *The device was busy* for every attempt, with growing pauses: `busy`. Only repeatable calls are tried again.
 *
 * A call on a lane that makes progress is waited for beyond its deadline; at most `maxInLane` are ahead of it.
 */

import { payerNow } from '../kms/paying.ts';
import { CallCosts } from './call-costs.ts';
import { failed } from './call-words.ts';
import { type Call, type CallName, calls } from './calls.ts';
import { CallsInFlight } from './calls-in-flight.ts';
import { FairCalls } from './fair-calls.ts';
import type { HostLane } from './host-lane.ts';
import type { CallOwner, HsmHost } from './hsm-host.ts';
import { type KeyStoreCapabilities, KeyStoreError, type KeyStoreFailure } from './key-store.ts';
import { type KeyStoreLimits, pauseMs } from './key-store-limits.ts';
import { LaneChoice, type LaneEntry, type LaneUse } from './lane-choice.ts';
import { type CallLane, CallList, type CallWatch, PendingCall } from './pending-call.ts';
import { RetiringHosts } from './retiring-hosts.ts';
import { keptName } from './wrapped-key.ts';

/** How often deadlines are looked at, as a part of `callDeadlineMs`: calls end that much late. */
const ticksPerDeadline = 20;

/** What a call has beside its name and fields. */
export interface CallTraits {
  /** Goes before the calls that are not, to a lane that never generates; has the bound of calls in flight for its kind alone. */
  readonly isPrompt?: boolean;
}

export class CallDispatcher implements CallOwner, CallWatch {
  readonly #limits: KeyStoreLimits;
  readonly #tickMs: number;
  readonly #ticker: NodeJS.Timeout;
  readonly #costs = new CallCosts();
  readonly #waiting = new FairCalls();
  readonly #prompt = new CallList();
  /** Calls that destroy or import keys, waiting for their turn to change keys (`Call.changesKeys`). They go before creations. */
  readonly #removals = new CallList();
  /** Calls that create keys, waiting for that turn and for a lane that may generate. */
  readonly #creations = new CallList();
  /** The one of both whose turn it is, until it settles. */
  #change: PendingCall | undefined;
  /** Calls that generate key pairs to give away, waiting for a lane that may generate. */
  readonly #dataKeyPairs = new CallList();
  /** Calls whose first lane was lost, but for those that generate. They go before those that wait. */
  readonly #repeats = new CallList();
  readonly #lists = [this.#repeats, this.#prompt, this.#removals, this.#creations, this.#dataKeyPairs];
  readonly #lanes: LaneChoice;
  readonly #retiring = new RetiringHosts();
  readonly #inFlight = new CallsInFlight();
  /** Since when there is no lane; `null` while there is one. */
  #noLaneSinceMs: number | null = performance.now();
  /** Why there will be no lane until somebody does something about it. */
  #blockedBecause: string | null = null;
  #closedBecause: string | null = null;
  /** Why nothing is generated any more. */
  #noGenerationBecause: string | null = null;
  #tickedAtMs = performance.now();
  #skippedTick = false;

  constructor(limits: KeyStoreLimits, lanes: Omit<LaneUse, 'maxInLane' | 'maxLaneMs'>) {
    this.#limits = limits;
    this.#lanes = new LaneChoice({ ...lanes, maxInLane: limits.maxInLane, maxLaneMs: limits.maxLaneMs });
    this.#tickMs = Math.max(5, limits.callDeadlineMs / ticksPerDeadline);
    this.#ticker = setInterval(() => this.#tick(), this.#tickMs).unref();
  }

  /** Calls that were begun and have not ended. */
  get inFlight(): number {
    return this.#inFlight.count;
  }

  get laneCount(): number {
    return this.#lanes.all.length;
  }

  /** A wrapped key is forgotten by all lanes: where they have room for another is known here as well. */
  forgot(backingKeyId: Buffer): void {
    this.#lanes.forget(backingKeyId.toString('latin1'));
  }

  /**
   * Has a call carried out.
   * @param decode Copies what it keeps of the reply's fields. Throws `BadReplyError`.
   * @param fields Read until the promise settles.
   */
  call<Result>(
    name: CallName,
    fields: readonly Uint8Array[],
    decode: (fields: readonly Buffer[], lane: CallLane) => Result,
    { isPrompt = false }: CallTraits = {},
  ): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#closedBecause !== null) {
        reject(new KeyStoreError('unavailable', failed(name, this.#closedBecause)));
        return;
      }
      const alike = this.#inFlight.countOf(isPrompt);
      if (alike >= this.#limits.maxInFlight) {
        reject(new KeyStoreError('busy', failed(name, `${alike} calls are in flight already`)));
        return;
      }
      this.#inFlight.begin(isPrompt);
      const cost = this.#costs.of(name, fields);
      const call = new PendingCall({
        name,
        fields,
        deadlineAtMs: performance.now() + this.#waitMs(calls[name]),
        addressed: false,
        isPrompt,
        payer: payerNow(),
        cost,
        isDear: this.#costs.isDear(name, cost),
        wrappedKey: keptName(fields[0]),
        decode,
        resolve,
        reject,
        watch: this,
      });
      if (this.#sendAtOnce(call)) return;
      this.#listOf(call).push(call);
      this.#dispatch();
    });
  }

  laneOpened(host: HsmHost, lane: HostLane, { roundTripMs }: KeyStoreCapabilities): void {
    this.#costs.learnRoundTrip(roundTripMs);
    this.#lanes.add(host, lane, roundTripMs);
    this.#noLaneSinceMs = null;
    this.#dispatch();
  }

  hostEnding(ending: HsmHost): void {
    const had = this.laneCount;
    this.#lanes.removeLanesOf(ending);
    if (had > 0 && this.laneCount === 0) this.#noLaneSinceMs = performance.now();
  }

  /** Another host has its place: it gets no more calls, and ends when it has answered those that it has. */
  retire(host: HsmHost): void {
    this.hostEnding(host);
    this.#retiring.add(host);
  }

  /** Fails the calls that have no lane, and all that come, at once; `null` lets them wait again. */
  block(because: string | null): void {
    this.#blockedBecause = because;
    if (because === null && this.#noLaneSinceMs !== null) this.#noLaneSinceMs = performance.now();
    this.#dispatch();
  }

  /** Fails all calls that come; those in flight go on. */
  refuseNew(because: string): void {
    this.#closedBecause = because;
  }

  /**
   * From now on nothing is generated. A call that waits to generate fails at once, and one that is on a lane with its host, which is
   * killed: a library cannot be interrupted. Other calls on that host fare as in a crash.
   */
  stopGenerating(because: string): void {
    this.#noGenerationBecause = because;
    const busy = [...this.#lanes.all, ...this.#retiring.entries()]
      .filter(({ lane }) => lane.isGenerating)
      .map(({ host }) => host);
    for (const host of new Set(busy)) host.fail(because);
    this.#dispatch();
  }

  /** Resolves when nothing is in flight, or after that long. */
  idle(atMostMs: number): Promise<void> {
    return this.#inFlight.none(atMostMs);
  }

  /** Ends the clock. Blocked before, it has no calls that could need it. */
  stop(): void {
    clearInterval(this.#ticker);
  }

  replied(): void {
    if (this.#hasNoneWaiting()) return;
    this.#dispatch();
  }

  settled(call: PendingCall): void {
    if (call === this.#change) this.#change = undefined;
    this.#inFlight.end(call.isPrompt);
  }

  refused(call: PendingCall, failure: KeyStoreFailure, message: string): void {
    const { firstBusyPauseMs, maxBusyAttempts } = this.#limits;
    if (failure !== 'busy' || !call.repeatable || call.addressed || ++call.busyReplies >= maxBusyAttempts) {
      call.fail(failure, message);
      return;
    }
    const waitMs = pauseMs(call.busyReplies - 1, firstBusyPauseMs, Infinity);
    if (performance.now() + waitMs >= call.deadlineAtMs) {
      call.fail('busy', message);
      return;
    }
    setTimeout(() => {
      (call.changesKeys ? this.#waiting : this.#listOf(call)).push(call);
      this.#dispatch();
    }, waitMs);
  }

  lost(calls: readonly PendingCall[], hung: boolean): void {
    const soonMs = performance.now() + this.#tickMs;
    for (const call of calls) {
      if (call.addressed) call.fail('unavailable', 'the HSM host ended');
      else if (hung && call.deadlineAtMs <= soonMs)
        call.fail('timeout', `no reply within ${this.#patienceMs(call.generates)} ms; the HSM host was replaced`);
      else if (!call.repeatable)
        call.fail('unavailable', 'the HSM host ended during the call, and the call must not be repeated');
      else if (call.repeated) call.fail('unavailable', 'the HSM host ended during the call, twice');
      else {
        call.repeated = true;
        // One that generates would hold up everybody until a lane may generate. It is the oldest of its list.
        if (call.generates) (call.changesKeys ? this.#creations : this.#dataKeyPairs).unshift(call);
        else this.#repeats.push(call);
      }
    }
    this.#dispatch();
  }

  /** Sends an ordinary call before which nobody waits, if there is a lane for it: what most calls are. */
  #sendAtOnce(call: PendingCall): boolean {
    if (call.generates || call.changesKeys || call.isPrompt) return false;
    if (!this.#waiting.isEmpty || this.#repeats.count > 0 || this.#prompt.count > 0) return false;
    const entry = this.#laneFor(call);
    if (entry === undefined) return false;
    this.#waiting.charge(call);
    this.#lanes.send(entry, call);
    return true;
  }

  /** Is no call waiting here? */
  #hasNoneWaiting(): boolean {
    return this.#waiting.isEmpty && this.#lists.every(({ count }) => count === 0);
  }

  #laneFor(call: PendingCall): LaneEntry | undefined {
    return call.isDear ? this.#lanes.dear() : this.#lanes.ordinary(call);
  }

  /** Sends what can be sent, the repeated calls first. */
  #dispatch(): void {
    const because = this.#noGenerationBecause ?? (this.#lanes.canGenerate ? null : this.#blockedBecause);
    if (because !== null) this.#failGenerations(because);
    if (this.laneCount === 0) {
      this.#failWithoutLane();
      return;
    }
    while (this.#repeats.count > 0) {
      // Until they are gone nothing else is sent, so a lane becomes empty as soon as it has answered what it has.
      const entry = this.#lanes.empty();
      if (entry === undefined) return;
      this.#sendFirst(entry, this.#repeats);
    }
    if (this.#change === undefined && this.#removals.first !== undefined) this.#beginRemoval(this.#removals.first);
    for (let list = this.#nextGenerations(); list?.first !== undefined; list = this.#nextGenerations()) {
      const entry = this.#lanes.generation(list.first);
      if (entry === undefined) break;
      if (list === this.#creations) this.#change = list.first;
      this.#sendFirst(entry, list);
    }
    while (this.#prompt.count > 0) {
      const entry = this.#lanes.prompt();
      if (entry === undefined) break;
      this.#sendFirst(entry, this.#prompt);
    }
    while (this.#sendNext());
  }

  /** Sends one of the calls that wait, if there is a lane for it: the one that is due, or the first of the other class. */
  #sendNext(): boolean {
    const due = this.#waiting.nextClass();
    if (due === undefined) return false;
    for (const callClass of due === 'dear' ? (['dear', 'quick'] as const) : (['quick', 'dear'] as const)) {
      const call = this.#waiting.next(callClass);
      if (call === undefined) continue;
      const entry = this.#laneFor(call);
      if (entry === undefined) continue;
      this.#waiting.take(callClass);
      this.#lanes.send(entry, call);
      return true;
    }
    return false;
  }

  /** From now on it is a call like others: if it hangs a host, it is past its deadline by then, and hangs no second one. */
  #beginRemoval(call: PendingCall): void {
    this.#removals.shift();
    call.deadlineAtMs = performance.now() + this.#limits.callDeadlineMs;
    this.#change = call;
    this.#waiting.pushFirst(call);
  }

  /** The list whose first call generates next, wherever it came from: the one that has waited longest. */
  #nextGenerations(): CallList | undefined {
    // Whoever keeps the last lane busy with generations would keep everybody's changes waiting.
    if (this.#prompt.count > 0 && !this.#lanes.hasPromptLane) return undefined;
    const creation = this.#change === undefined ? this.#creations.first : undefined;
    const pair = this.#dataKeyPairs.first;
    if (creation === undefined) return pair === undefined ? undefined : this.#dataKeyPairs;
    return pair === undefined || creation.deadlineAtMs <= pair.deadlineAtMs ? this.#creations : this.#dataKeyPairs;
  }

  #listOf(call: PendingCall): CallList | FairCalls {
    if (call.generates) return call.changesKeys ? this.#creations : this.#dataKeyPairs;
    if (call.isPrompt) return this.#prompt;
    return call.changesKeys ? this.#removals : this.#waiting;
  }

  /** How long a call may wait for its turn: each list holds calls of one patience, so that the first one tells (`#expire`). */
  #waitMs({ generates, changesKeys }: Call): number {
    return this.#patienceMs(generates === true || changesKeys === true);
  }

  #failGenerations(because: string): void {
    for (const call of [...this.#creations.drain(), ...this.#dataKeyPairs.drain()]) call.fail('unavailable', because);
  }

  #failWithoutLane(): void {
    const because = this.#blockedBecause ?? this.#longOutage();
    if (because === null) return;
    const calls = [...this.#lists.flatMap((list) => list.drain()), ...this.#waiting.expired(null)];
    for (const call of calls) call.fail('unavailable', because);
  }

  #longOutage(): string | null {
    const forMs = this.#noLaneSinceMs === null ? 0 : performance.now() - this.#noLaneSinceMs;
    return forMs > this.#limits.reconnectWaitMs ? 'there is no connection to the token' : null;
  }

  #tick(): void {
    const nowMs = performance.now();
    const { callDeadlineMs } = this.#limits;
    // Late itself, this process was stopped or starved, and replies may be there that it has not read. By the next tick it has.
    const isLate = nowMs - this.#tickedAtMs > 2 * this.#tickMs;
    this.#tickedAtMs = nowMs;
    this.#skippedTick = isLate && !this.#skippedTick;
    if (this.#skippedTick) return;
    this.#retiring.endIdle();
    for (const { lane, host } of [...this.#lanes.all, ...this.#retiring.entries()]) {
      if (lane.silentMs(nowMs) <= callDeadlineMs) continue;
      const patienceMs = this.#patienceMs(lane.isGenerating);
      if (lane.silentMs(nowMs) > patienceMs) host.fail(`it was silent for ${patienceMs} ms`, { hung: true });
    }
    this.#expire([this.#repeats, this.#prompt], nowMs, callDeadlineMs);
    for (const call of this.#waiting.expired(nowMs)) this.#failLate(call, callDeadlineMs);
    this.#expire([this.#removals, this.#creations, this.#dataKeyPairs], nowMs, this.#patienceMs(true));
    this.#dispatch();
  }

  /** How long a lane may be silent. */
  #patienceMs(generates: boolean): number {
    const { callDeadlineMs, generationDeadlineMs } = this.#limits;
    return generates ? Math.max(callDeadlineMs, generationDeadlineMs) : callDeadlineMs;
  }

  /** Calls wait in the order of their deadlines, but for the few that were busy or repeated: the first one tells. */
  #expire(lists: readonly CallList[], nowMs: number, afterMs: number): void {
    for (const list of lists)
      while (list.first !== undefined && list.first.deadlineAtMs <= nowMs) {
        const late = list.shift();
        if (late !== undefined) this.#failLate(late, afterMs);
      }
  }

  #sendFirst(entry: LaneEntry, list: CallList): void {
    const call = list.shift();
    if (call !== undefined) this.#lanes.send(entry, call);
  }

  #failLate(call: PendingCall, afterMs: number): void {
    call.fail(this.laneCount === 0 ? 'unavailable' : 'busy', `its turn did not come within ${afterMs} ms`);
  }
}
