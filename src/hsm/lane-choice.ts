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
 * - *Ordinary calls* go to the lane with the fewest calls, as long as it has not more than it does in a few milliseconds, and to none that
 *   generates where there is a prompt one. Where the
 *   library's sessions are no faster side by side than one after the other (`sessionsAreParallel` is false), they keep to the first
 *   lane of each host; and of two lanes in all, to the prompt one while it has room. Calls that are spread over two hosts leave in
 *   smaller batches: at 16 at once each took a third more CPU, measured with SoftHSM2. Who has more hosts wants them all at work.
 */

import type { HostLane } from './host-lane.ts';
import type { HsmHost } from './hsm-host.ts';

export interface LaneEntry {
  readonly lane: HostLane;
  readonly host: HsmHost;
  /** Carries a repeated call, and takes no other beside it. */
  alone: boolean;
}

export interface LaneUse {
  /** Calls that one lane has at once. */
  readonly maxInLane: number;
  /** For how long they may be thought to keep it busy. */
  readonly maxLaneMs: number;
  /** How many there are, over all hosts, when all are open. */
  readonly laneCount: number;
  /** Are ordinary calls faster on several sessions of one host at once? */
  readonly sessionsAreParallel: boolean;
}

export class LaneChoice {
  readonly #use: LaneUse;
  #all: readonly LaneEntry[] = [];
  #forPrompt: readonly LaneEntry[] = [];
  #forOrdinary: readonly LaneEntry[] = [];
  #forGenerations: readonly LaneEntry[] = [];

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

  add(host: HsmHost, lane: HostLane): void {
    this.#follow([...this.#all, { lane, host, alone: false }]);
  }

  removeLanesOf(gone: HsmHost): void {
    this.#follow(this.#all.filter(({ host }) => host !== gone));
  }

  /** One for a call of a caller's that is thought to take so long; `undefined` while those that may have it are full. */
  ordinary(ms: number): LaneEntry | undefined {
    const { laneCount, sessionsAreParallel } = this.#use;
    const hasRoom = (entry: LaneEntry) => this.#hasRoom(entry, ms);
    const preferred = laneCount === 2 && !sessionsAreParallel ? leastLoaded(this.#forPrompt, hasRoom) : undefined;
    return preferred ?? leastLoaded(this.#forOrdinary, hasRoom);
  }

  /** One for a call that is dear; `undefined` while each that may have it has one, or is full. */
  dear(): LaneEntry | undefined {
    const { maxInLane, maxLaneMs } = this.#use;
    const free = this.#forGenerations.filter(({ lane }) => !lane.isGenerating);
    return leastLoaded(
      free.length > 0 ? free : this.#forPrompt,
      ({ lane }) => !lane.hasDear && lane.callCount < maxInLane && lane.backlogMs <= maxLaneMs,
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

  /** One that generates is for no other call: it may take longer than anybody waits, and another lane has room sooner. */
  #hasRoom({ lane }: LaneEntry, ms: number): boolean {
    const { maxInLane, maxLaneMs, laneCount } = this.#use;
    if (lane.isGenerating && laneCount > 1 && this.hasPromptLane) return false;
    // One call is let in whatever it is thought to take: behind generations on a single lane it would wait for all of them.
    return lane.callCount < maxInLane && (lane.backlogMs === 0 || lane.backlogMs + ms <= maxLaneMs);
  }

  #follow(all: readonly LaneEntry[]): void {
    const isFirst = ({ lane, host }: LaneEntry) => lane === host.lanes[0];
    const isPrompt = (entry: LaneEntry) => isFirst(entry) && entry.host.hasPromptLane;
    const prompt = all.filter(isPrompt);
    this.#all = all;
    this.#forPrompt = prompt.length > 0 ? prompt : all;
    this.#forOrdinary = this.#use.sessionsAreParallel ? all : all.filter(isFirst);
    this.#forGenerations = all.filter((entry) => !isPrompt(entry));
  }
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

/** More than any lane has. */
const generatingLoad = 1_000_000;
