/**
 * The lanes of a key store that serve calls, and which of them is for which call.
 *
 * - *Generations* take seconds, and a library cannot be interrupted. The first lane of a host that has several never has one: it is
 *   *prompt*, and so is that of the host that replaces it. So each host has a prompt lane of its own, and as long as there is any host
 *   there is one. Where hosts have one lane each, the lane of the first host is prompt, and of those that follow it. Each other lane has
 *   one generation at most. The single lane of a single host does everything.
 * - *Prompt calls* go to prompt lanes, whatever there is on others. While there is none they go to a lane that does not generate,
 *   and wait for one if they must: the next host is sooner there than somebody's RSA-4096. Nothing new is generated before they went.
 * - *Ordinary calls* go to the lane with the fewest calls, and to one that generates only if the others are full. Where the
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

  /** One for a call of a caller's; `undefined` while those that may have it are full. */
  ordinary(): LaneEntry | undefined {
    const { laneCount, maxInLane, sessionsAreParallel } = this.#use;
    const preferred = laneCount === 2 && !sessionsAreParallel ? leastLoaded(this.#forPrompt, maxInLane) : undefined;
    return preferred ?? leastLoaded(this.#forOrdinary, maxInLane);
  }

  /** One for a prompt call; `undefined` while all that may have it generate or are full. */
  prompt(): LaneEntry | undefined {
    const entry = leastLoaded(this.#forPrompt, this.#use.maxInLane);
    return entry?.lane.isGenerating && this.#use.laneCount > 1 ? undefined : entry;
  }

  /** An empty one, for a repeated call that does not generate. */
  empty(): LaneEntry | undefined {
    return leastLoaded(this.#forOrdinary, 1);
  }

  /**
   * One that may generate and does not yet. If the call is a repeated one, none before the other repeated calls are answered: it may
   * be what crashes hosts, and they would be lost with it twice.
   */
  generation({ repeated }: { readonly repeated: boolean }): LaneEntry | undefined {
    if (repeated && this.#all.some(({ lane, alone }) => alone && lane.callCount > 0)) return undefined;
    const entry = leastLoaded(this.#forGenerations, this.#use.maxInLane);
    return entry?.lane.isGenerating ? undefined : entry;
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

/** The entry with the fewest calls, and less than `limit`; one that generates a key only if the others are full. */
function leastLoaded(entries: readonly LaneEntry[], limit: number): LaneEntry | undefined {
  let best: LaneEntry | undefined;
  let lightest = Infinity;
  for (const entry of entries) {
    const count = entry.lane.callCount;
    if (count === 0) {
      entry.alone = false;
      return entry;
    }
    const load = entry.lane.isGenerating ? limit + count : count;
    if (count < limit && load < lightest && !entry.alone) {
      best = entry;
      lightest = load;
    }
  }
  return best;
}
