/**
 * The lanes of a key store that serve calls, and which of them is for which call.
 *
 * - *Generations* take seconds, and a library cannot be interrupted. The first lane of a host that has several never has one: it is
 *   *prompt*, and so is that of the host that replaces it. So each host has a prompt lane of its own, and as long as there is any host
 *   there is one. Where hosts have one lane each, the lane of the first host is prompt, and of those that follow it. Each other lane has
 *   one generation at most. The single lane of a single host does everything.
 * - *Prompt calls* go to prompt lanes, whatever there is on others. While there is none they go to a lane that does not generate,
 *   and wait for one if they must: the next host is sooner there than somebody's RSA-4096. Nothing new is generated before they went.
 * - *Dear calls* (`call-costs.ts`) go to the lanes that are not prompt, one to each at a time: an RSA-4096 signature in software takes as
 *   long as some hundred AES calls, which are not to wait for it. While all of those generate they go to the prompt ones, so that
 *   nobody's signature waits for somebody's new key.
 * - *Ordinary calls* that take little keep together: they go to the first prompt lane while it has not more than it does in a few
 *   milliseconds, because calls that are spread leave in smaller batches (over two hosts, at 16 at once, each took a third more CPU,
 *   measured with SoftHSM2), and one lane does more of them than one API process can ask for. Those that take longer than it
 *   costs to hand them over, an RSA-2048 signature in software or whatever goes to an HSM on the network, go to the lane that is
 *   done soonest, so that all hosts are at work; of equal ones to a lane that is not prompt. None goes to a lane that generates
 *   where there is a prompt one. Where the library's sessions are no faster side by side than one after the other
 *   (`sessionsAreParallel` is false), they keep to the first lane of each host.
 * - *Calls with a wrapped key* go where it is unwrapped already (`kept-keys.ts`), because to unwrap it costs as much as ten calls that
 *   find it. One that no lane keeps goes to the first prompt lane while that has room to keep it. So does, where little calls keep
 *   together, one with a key that only another lane has, which got it while the first had enough to do: once for each such key, and
 *   few keys are all in one place in the end (10 keys, 16 connections, SoftHSM2: 34 µs of CPU in the API process and 16 in the hosts
 *   became 29 and 12). When there is no room any more they go to one by its id: lanes add up what they keep, and a key comes back to
 *   where its name is remembered. While all that were used lately have room in the first lane, they go there again and come together,
 *   whatever was divided before, when many others were used (921 keys, 16 connections: each call is one of a batch half as large where
 *   two hosts have them). To another lane it goes when that one has no room, and, of calls with private keys, when another is
 *   done so much sooner that unwrapping it there is worth it. Once all are full, little calls with a key that none has or remembers keep
 *   together as well: it passes by, and is unwrapped once wherever it goes.
 * - *A far token*: a lane has a call to do while the reply to the one before is on its way back, which takes this process a
 *   millisecond when it is busy. So what a lane may have at once grows with the way to the token (`travelMs`).
 */

import { dependsOnKey, travelMs } from './call-costs.ts';
import type { CallName } from './calls.ts';
import type { HostLane } from './host-lane.ts';
import type { HsmHost } from './hsm-host.ts';
import { KeptKeys, maxUnwrappedKeys } from './kept-keys.ts';
import type { PendingCall } from './pending-call.ts';

/** Of a wrapped key on one lane. */
interface UseOfKey {
  /** Of the last one: so many times calls were counted before. */
  round: number;
}

export interface LaneEntry {
  readonly lane: HostLane;
  readonly host: HsmHost;
  /** For how long its calls may be thought to keep it busy. */
  readonly maxMs: number;
  /** The wrapped keys that it is thought to have unwrapped. */
  readonly kept: KeptKeys<UseOfKey>;
  /** Of the lanes that there were so far, the how manieth it is. */
  readonly ordinal: number;
  /** Carries a repeated call, and takes no other beside it. */
  alone: boolean;
}

export interface LaneUse {
  /** Calls that one lane has at once. */
  readonly maxInLane: number;
  /** For how long they may be thought to keep it busy, but for the way to the token. */
  readonly maxLaneMs: number;
  /** How many there are, over all hosts, when all are open. */
  readonly laneCount: number;
  /** Are ordinary calls faster on several sessions of one host at once? */
  readonly sessionsAreParallel: boolean;
}

/** Calls that take less keep together. To hand a call over by itself costs 50 µs, in both processes together (SoftHSM2, 1 connection). */
const littleMs = 0.15;
/** So much sooner a lane must be done to be given a private key that another one has, and as much as the key takes. */
const unwrappingMs = 1;
/** The same for a key that no lane has, and that has another one to come back to. */
const strayingMs = 0.25;
/** The same for keys that all take as little: no lane is that busy, but one that generates, or has no room. */
const awayMs = 10_000;
/** Calls with wrapped keys after which it is counted anew with how many keys they were: each key that is in use is among them. */
const callsOfRound = 4 * maxUnwrappedKeys;
/** So many are few: a lane has them all, beside others that come by. */
const fewKeys = maxUnwrappedKeys - 64;

export class LaneChoice {
  readonly #use: LaneUse;
  #all: readonly LaneEntry[] = [];
  #forPrompt: readonly LaneEntry[] = [];
  #forOrdinary: readonly LaneEntry[] = [];
  #forGenerations: readonly LaneEntry[] = [];
  #laneNumber = 0;
  /** Were few wrapped keys used in the last round of calls? */
  #areFew = false;
  #round = 0;
  #callsOfRound = 0;
  #keysOfRound = 0;

  constructor(use: LaneUse) {
    this.#use = use;
  }

  get all(): readonly LaneEntry[] {
    return this.#all;
  }

  /** Is there a lane that never generates? */
  get hasPromptLane(): boolean {
    return this.#all.length > 0 && this.#forPrompt !== this.#all;
  }

  get canGenerate(): boolean {
    return this.#forGenerations.length > 0;
  }

  add(host: HsmHost, lane: HostLane, roundTripMs: number): void {
    // Two of the longest that are not dear: one on its way and one behind it.
    const maxMs = this.#use.maxLaneMs + 2 * travelMs(roundTripMs);
    const [kept, ordinal] = [new KeptKeys<UseOfKey>(), ++this.#laneNumber];
    this.#follow([...this.#all, { lane, host, maxMs, kept, ordinal, alone: false }]);
  }

  removeLanesOf(gone: HsmHost): void {
    this.#follow(this.#all.filter(({ host }) => host !== gone));
  }

  /** Sends a call on a lane, which from then on is thought to have the wrapped key that the call uses. */
  send(entry: LaneEntry, call: PendingCall): void {
    if (call.repeated) entry.alone = true;
    if (call.wrappedKey !== undefined) this.#count(entry.kept, call.wrappedKey);
    entry.lane.send(call);
  }

  #count(kept: KeptKeys<UseOfKey>, key: string): void {
    let use = kept.use(key);
    if (use === undefined) {
      use = { round: -1 };
      kept.keep(key, use);
    }
    if (use.round !== this.#round) {
      use.round = this.#round;
      this.#keysOfRound++;
    }
    if (++this.#callsOfRound < callsOfRound) return;
    this.#areFew = this.#keysOfRound <= fewKeys;
    this.#round++;
    this.#callsOfRound = 0;
    this.#keysOfRound = 0;
  }

  /** A wrapped key is gone from all lanes. */
  forget(wrappedKey: string): void {
    for (const { kept } of this.#all) kept.drop(wrappedKey);
  }

  /** One for a call of a caller's; `undefined` while those that may have it are full. */
  ordinary({ name, cost: { ms }, wrappedKey }: PendingCall): LaneEntry | undefined {
    if (wrappedKey !== undefined && this.#forOrdinary.length > 1) return this.#withKey(wrappedKey, name, ms);
    if (ms < littleMs && !this.#use.sessionsAreParallel)
      for (const entry of this.#forPrompt) if (this.#hasRoom(entry, ms)) return entry;
    let best: LaneEntry | undefined;
    let soonestMs = Infinity;
    for (const entry of this.#forOrdinary) {
      const { backlogMs, isGenerating } = entry.lane;
      const doneInMs = isGenerating ? generatingLoad + backlogMs : backlogMs;
      if (doneInMs >= soonestMs || !this.#hasRoom(entry, ms)) continue;
      best = entry;
      soonestMs = doneInMs;
    }
    return best;
  }

  #withKey(key: string, name: CallName, ms: number): LaneEntry | undefined {
    const isTogether = ms < littleMs && !this.#use.sessionsAreParallel;
    const first = this.#forPrompt[0];
    if (isTogether && first !== undefined && this.#keepsToFirst(key, first) && this.#hasRoom(first, ms)) return first;
    const home = this.#homeOf(key);
    const unwrapMs = dependsOnKey(name) ? unwrappingMs + ms : awayMs;
    let best: LaneEntry | undefined;
    let soonestMs = Infinity;
    for (const entry of this.#forOrdinary) {
      const { backlogMs, isGenerating } = entry.lane;
      const isThere = entry.kept.has(key);
      const anewMs = isThere ? 0 : entry === home ? unwrapMs : unwrapMs + strayingMs;
      const isFirst = isThere && isTogether && this.#forPrompt.includes(entry);
      const doneInMs = (isGenerating ? generatingLoad : 0) + (isFirst ? 0 : backlogMs) + anewMs;
      if (doneInMs >= soonestMs || !this.#hasRoom(entry, ms)) continue;
      best = entry;
      soonestMs = doneInMs;
    }
    return best;
  }

  /** Is a little call with this key one of those that keep together? */
  #keepsToFirst(key: string, { kept }: LaneEntry): boolean {
    if (this.#areFew || kept.hasRoom || kept.has(key)) return true;
    return this.#forOrdinary.every((entry) => !entry.kept.hasRoom && !entry.kept.knows(key));
  }

  /** Where a key is unwrapped that no lane has. Of a lane that is gone the keys are divided among all others. */
  #homeOf(name: string): LaneEntry | undefined {
    const first = this.#forPrompt[0];
    if (first?.kept.hasRoom === true) return first;
    let home: LaneEntry | undefined;
    let highest = -1;
    for (const entry of this.#forOrdinary) {
      const score = weightOf(name, entry.ordinal);
      if (score <= highest) continue;
      home = entry;
      highest = score;
    }
    return home;
  }

  /** One for a call that is dear; `undefined` while each that may have it has one, or is full. */
  dear(): LaneEntry | undefined {
    const { maxInLane } = this.#use;
    const free = this.#forGenerations.filter(({ lane }) => !lane.isGenerating);
    return leastLoaded(
      free.length > 0 ? free : this.#forPrompt,
      ({ lane, maxMs }) => !lane.hasDear && lane.callCount < maxInLane && lane.backlogMs <= maxMs,
    );
  }

  /** One for a prompt call; `undefined` while all that may have it generate or are full. */
  prompt(): LaneEntry | undefined {
    const entry = leastLoaded(this.#forPrompt, fewerThan(this.#use.maxInLane));
    return entry?.lane.isGenerating && this.#use.laneCount > 1 ? undefined : entry;
  }

  /** An empty one, for a repeated call that does not generate. */
  empty(): LaneEntry | undefined {
    return leastLoaded(this.#forOrdinary, fewerThan(1));
  }

  /**
   * One that may generate and does not yet. If the call is a repeated one, none before the other repeated calls are answered: it may
   * be what crashes hosts, and they would be lost with it twice.
   */
  generation({ repeated }: { readonly repeated: boolean }): LaneEntry | undefined {
    if (repeated && this.#all.some(({ lane, alone }) => alone && lane.callCount > 0)) return undefined;
    const entry = leastLoaded(this.#forGenerations, fewerThan(this.#use.maxInLane));
    return entry?.lane.isGenerating ? undefined : entry;
  }

  #hasRoom(entry: LaneEntry, ms: number): boolean {
    const { lane } = entry;
    if (lane.callCount === 0) entry.alone = false;
    else if (entry.alone || lane.callCount >= this.#use.maxInLane) return false;
    // One that generates is for no other call: it may take longer than anybody waits, and another lane has room sooner.
    if (lane.isGenerating && this.#use.laneCount > 1 && this.hasPromptLane) return false;
    // One call is let in whatever it is thought to take: behind generations on a single lane it would wait for all of them.
    return lane.backlogMs === 0 || lane.backlogMs + ms <= entry.maxMs;
  }

  #follow(all: readonly LaneEntry[]): void {
    const isFirst = ({ lane, host }: LaneEntry) => lane === host.lanes[0];
    const isPrompt = (entry: LaneEntry) => isFirst(entry) && entry.host.hasPromptLane;
    const prompt = all.filter(isPrompt);
    this.#all = all;
    this.#forPrompt = prompt.length > 0 ? prompt : all;
    const ordinary = this.#use.sessionsAreParallel ? all : all.filter(isFirst);
    this.#forOrdinary = [...ordinary.filter((entry) => !isPrompt(entry)), ...ordinary.filter(isPrompt)];
    this.#forGenerations = all.filter((entry) => !isPrompt(entry));
  }
}

/** A number that differs between lanes in no order, by the first bytes of an id, which is random (rendezvous hashing). */
function weightOf(name: string, ordinal: number): number {
  const bytes =
    name.charCodeAt(0) | (name.charCodeAt(1) << 8) | (name.charCodeAt(2) << 16) | (name.charCodeAt(3) << 24);
  const mixed = Math.imul(bytes ^ Math.imul(ordinal, 0x9e3779b1), 0x85ebca6b);
  return Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35) >>> 0;
}

/** The most generations that a key store with such hosts carries out side by side. */
export function generationsAtOnce({ hosts, lanes }: { readonly hosts: number; readonly lanes: number }): number {
  return lanes > 1 ? hosts * (lanes - 1) : Math.max(1, hosts - 1);
}

function fewerThan(limit: number): (entry: LaneEntry) => boolean {
  return ({ lane }) => lane.callCount < limit;
}

/** The entry with the fewest calls among those that have room, or have none; one that generates a key only if there is no other. */
function leastLoaded(entries: readonly LaneEntry[], hasRoom: (entry: LaneEntry) => boolean): LaneEntry | undefined {
  let best: LaneEntry | undefined;
  let lightest = Infinity;
  for (const entry of entries) {
    const { callCount, isGenerating } = entry.lane;
    if (callCount === 0) {
      entry.alone = false;
      return entry;
    }
    const load = isGenerating ? generatingLoad + callCount : callCount;
    if (load < lightest && !entry.alone && hasRoom(entry)) {
      best = entry;
      lightest = load;
    }
  }
  return best;
}

/** More than any lane has, in calls and in milliseconds. */
const generatingLoad = 1_000_000;
