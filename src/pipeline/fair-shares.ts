/**
 * Fair shares: nobody gets more than his share of the daemon at once, however many connections he has.
 *
 * Each user may have `maxRunning` requests under way; his further ones wait in a queue of his own, in the order of their
 * arrival, and beyond `maxWaiting`, or when they would wait for longer than is of use, they are refused. So what stands before
 * anybody's request, in the queue of the HSM and everywhere else, is at most one share of each other user, and those who flood
 * get equal shares.
 *
 * Requests that generate (`generates` of the operation) may take the HSM seconds each, so they have shares of their own, of a
 * few: at most these of each other user are before somebody's generation, users who have many take turns, and nobody's other
 * requests wait behind his generations.
 *
 * Among those that may run, the processor is shared too (`processor-turns.ts`), and who is refused far more often than not is
 * refused before anything of his requests is parsed (`refusal-records.ts`). What is too much is answered slowly
 * (`slow-answers.ts`).
 *
 * A user is whoever pays for the request (`kms/payer.ts`). What a request has the HSM do is on his account there, too
 * (`kms/paying.ts`, `hsm/fair-calls.ts`).
 */

import { KmsError } from '../kms/errors.ts';
import type { Payer } from '../kms/payer.ts';
import { onAccountOf } from '../kms/paying.ts';
import { findOperation } from '../operations/find-operation.ts';
import { secretMemory } from '../secrets/secret-memory.ts';
import { ProcessorTurns, type Work } from './processor-turns.ts';
import type { RefusalRecords } from './refusal-records.ts';
import type { KmsAnswer, KmsService } from './service.ts';
import { SlowAnswers } from './slow-answers.ts';

export interface ShareLimits {
  readonly maxRunning: number;
  readonly maxWaiting: number;
  /** Of the bodies that wait. */
  readonly maxWaitingBytes: number;
  /** After so long a request that waits is refused. */
  readonly maxWaitingMs: number;
  /** A request that would wait for longer, at the pace at which its user's are answered, is refused at once. */
  readonly maxExpectedMs: number;
}

export const defaultShareLimits: ShareLimits = {
  // As many as a lane to the HSM takes at once, so that one user alone can keep it busy.
  maxRunning: 128,
  // Twice the connections that one user may have: who waits for his answers is never refused.
  maxWaiting: 2048,
  maxWaitingBytes: 16 * 1024 * 1024,
  // The deadlines of the calls that are under way bound it already.
  maxWaitingMs: Infinity,
  // As long as a call waits for a lane (`callDeadlineMs`). Who is told at once comes back when there is room, and meanwhile
  // nothing is done for somebody who has given up.
  maxExpectedMs: 10_000,
};

/**
 * Of requests that generate, where the key store generates so many keys at once. One user alone can keep all the lanes that do
 * busy; with a second request at least, the time in which a new key is put on record is of use.
 */
export function generationLimits(generationsAtOnce: number): ShareLimits {
  return {
    ...defaultShareLimits,
    maxRunning: Math.max(2, generationsAtOnce),
    // The AWS CLI and boto3 listen for 60 s, and then ask for the same again; whoever is told before that knows better.
    maxWaitingMs: 50_000,
    maxExpectedMs: 50_000,
  };
}

/** What wants to run. It is made once for each request, and is all that is made for one that need not wait. */
class Entrant implements Work<KmsAnswer> {
  readonly payer: Payer;
  /** Of the body. */
  readonly bytes: number;
  /** Of the processor. */
  usedMs = 0;
  readonly #serve: () => Promise<KmsAnswer>;
  readonly #refuse: () => Promise<KmsAnswer>;
  readonly #hold: () => void;

  /**
   * @param serve Never rejects.
   * @param refuse What is answered when too many wait, or this one for too long.
   * @param hold Called when it has to wait.
   */
  constructor(
    payer: Payer,
    bytes: number,
    serve: () => Promise<KmsAnswer>,
    refuse: () => Promise<KmsAnswer>,
    hold: () => void,
  ) {
    this.payer = payer;
    this.bytes = bytes;
    this.#serve = serve;
    this.#refuse = refuse;
    this.#hold = hold;
  }

  run(): Promise<KmsAnswer> {
    return onAccountOf(this.payer, this.#serve);
  }

  charged(usedMs: number): void {
    this.usedMs = usedMs;
  }

  refuse(): Promise<KmsAnswer> {
    return this.#refuse();
  }

  hold(): void {
    this.#hold();
  }
}

interface Waiting {
  readonly entrant: Entrant;
  readonly answer: (answer: Promise<KmsAnswer>) => void;
  readonly timer: NodeJS.Timeout | undefined;
  /** Started, or refused for having waited too long. */
  isOver: boolean;
}

interface Share {
  readonly payer: Payer;
  running: number;
  readonly waiting: Waiting[];
  /** Those before it are over, and are dropped now and then: a long queue is not moved for each of them. */
  nextWaiting: number;
  /** How many wait, and their bodies. */
  waitingCount: number;
  waitingBytes: number;
  /** Between two answers, while others wait. */
  paceMs: number;
  answeredAtMs: number;
}

/** How much of the pace the last answer tells: a pause of the HSM is soon forgotten. */
const paceFactor = 0.1;

class FairShares {
  readonly #limits: ShareLimits;
  readonly #processor: ProcessorTurns;
  readonly #refusals: ShareOptions['refusals'];
  readonly #shares = new Map<Payer, Share>();

  constructor(limits: ShareLimits, processor: ProcessorTurns, refusals: ShareOptions['refusals']) {
    this.#limits = limits;
    this.#processor = processor;
    this.#refusals = refusals;
  }

  enter(entrant: Entrant): Promise<KmsAnswer> {
    const { maxRunning, maxWaiting, maxWaitingBytes, maxWaitingMs, maxExpectedMs } = this.#limits;
    const share = this.#shareOf(entrant.payer);
    if (share.running < maxRunning) return this.#start(share, entrant);
    if (share.waitingCount >= maxWaiting || share.waitingBytes + entrant.bytes > maxWaitingBytes)
      return entrant.refuse();
    if (share.waitingCount * share.paceMs > maxExpectedMs) return entrant.refuse();
    entrant.hold();
    share.waitingCount++;
    share.waitingBytes += entrant.bytes;
    return new Promise((answer) => {
      const timer =
        maxWaitingMs === Infinity ? undefined : setTimeout(() => this.#giveUp(share, waiting), maxWaitingMs).unref();
      const waiting: Waiting = { entrant, answer, timer, isOver: false };
      share.waiting.push(waiting);
    });
  }

  #shareOf(payer: Payer): Share {
    let share = this.#shares.get(payer);
    if (share === undefined) {
      share = {
        payer,
        running: 0,
        waiting: [],
        nextWaiting: 0,
        waitingCount: 0,
        waitingBytes: 0,
        paceMs: 0,
        answeredAtMs: 0,
      };
      this.#shares.set(payer, share);
    }
    return share;
  }

  #start(share: Share, entrant: Entrant): Promise<KmsAnswer> {
    share.running++;
    return this.#processor.run(share.payer, entrant).then((answer) => {
      if (!answer.ok) this.#refusals?.spent(share.payer, entrant.usedMs);
      this.#leave(share);
      return answer;
    });
  }

  #leave(share: Share): void {
    share.running--;
    if (share.waitingCount === 0) {
      share.answeredAtMs = 0;
      if (share.running === 0) this.#shares.delete(share.payer);
      return;
    }
    const nowMs = performance.now();
    if (share.answeredAtMs > 0)
      share.paceMs += (nowMs - share.answeredAtMs - share.paceMs) * (share.paceMs === 0 ? 1 : paceFactor);
    share.answeredAtMs = nowMs;
    const next = this.#takeNext(share);
    if (next !== undefined) next.answer(this.#start(share, next.entrant));
  }

  #takeNext(share: Share): Waiting | undefined {
    const next = share.waiting[share.nextWaiting];
    if (next !== undefined) this.#end(share, next);
    return next;
  }

  #giveUp(share: Share, waiting: Waiting): void {
    this.#end(share, waiting);
    waiting.answer(waiting.entrant.refuse());
  }

  /** It waits no longer. All wait equally long at most, so it is the first one, or all before it end in this moment too. */
  #end(share: Share, ended: Waiting): void {
    const { waiting } = share;
    clearTimeout(ended.timer);
    ended.isOver = true;
    share.waitingCount--;
    share.waitingBytes -= ended.entrant.bytes;
    while (waiting[share.nextWaiting]?.isOver === true) share.nextWaiting++;
    if (share.nextWaiting >= this.#limits.maxWaiting || share.nextWaiting === waiting.length) {
      waiting.splice(0, share.nextWaiting);
      share.nextWaiting = 0;
    }
  }
}

export interface ShareOptions {
  readonly requests?: ShareLimits;
  /** Who is refused too often; absent: nobody is. */
  readonly refusals?: Pick<RefusalRecords, 'turnsAway' | 'spent'>;
  /** Of several services that share a processor, the same; absent: one of its own. */
  readonly processor?: ProcessorTurns;
}

/** The shares of all payers. Of all Regions the same: who asks in two of them has no two shares. */
export class Shares {
  readonly refusals: ShareOptions['refusals'];
  readonly requests: FairShares;
  readonly slowly = new SlowAnswers();
  readonly #processor: ProcessorTurns;
  readonly #generations = new Map<string, FairShares>();

  constructor({ requests = defaultShareLimits, refusals, processor = new ProcessorTurns() }: ShareOptions = {}) {
    this.refusals = refusals;
    this.requests = new FairShares(requests, processor, refusals);
    this.#processor = processor;
  }

  /**
   * Of requests that generate, in one key store.
   * @param limits Its own, which are the same each time.
   */
  generationsIn(keyStore: string, limits: ShareLimits): FairShares {
    const known = this.#generations.get(keyStore);
    if (known !== undefined) return known;
    const made = new FairShares(limits, this.#processor, this.refusals);
    this.#generations.set(keyStore, made);
    return made;
  }
}

/** Where a service's requests have keys generated. */
export interface Generations {
  /** The name of the key store. */
  readonly keyStore: string;
  readonly limits: ShareLimits;
}

/**
 * The same service, with fair shares for its callers.
 * @param shares Of several services, the same.
 * @param generations Absent: as where one key is generated at a time.
 */
export function shareFairly(
  service: KmsService,
  shares: Shares,
  generations: Generations = { keyStore: '', limits: generationLimits(1) },
): KmsService {
  const { requests: ofRequests, refusals, slowly } = shares;
  const ofGenerations = shares.generationsIn(generations.keyStore, generations.limits);
  const isTooMuch = (payer: Payer): boolean => refusals?.turnsAway(payer) === true;
  async function refuseSlowly(...refused: Parameters<KmsService['refuse']>): Promise<KmsAnswer> {
    const answer = await service.refuse(...refused);
    await slowly.turn(refused[0].payer);
    return answer;
  }
  return {
    run(request) {
      let held = request;
      const refuse = (): Promise<KmsAnswer> => {
        held.body.fill(0);
        return refuseSlowly(held, rateExceeded());
      };
      const hold = (): void => {
        held = { ...request, body: ownMemory(request.body) };
      };
      if (isTooMuch(request.payer)) return refuse();
      const entered = findOperation(request.operationName)?.generates === true ? ofGenerations : ofRequests;
      return entered.enter(new Entrant(request.payer, request.body.length, () => service.run(held), refuse, hold));
    },
    refuse: (request, error) =>
      isTooMuch(request.payer) ? refuseSlowly(request, error) : service.refuse(request, error),
    act(request, perform) {
      const refuse = (): Promise<KmsAnswer> => refuseSlowly(request, rateExceeded());
      if (isTooMuch(request.payer)) return refuse();
      return ofRequests.enter(new Entrant(request.payer, 0, () => service.act(request, perform), refuse, noBody));
    },
  };
}

function noBody(): void {}

/**
 * The body of a request that waits, in memory of its own: what it came in may be a piece of memory of many requests, all of which would be
 * kept for it.
 */
function ownMemory(body: Buffer): Buffer {
  if (body.buffer.byteLength === body.length) return body;
  const own = secretMemory(body.length);
  body.copy(own);
  body.fill(0);
  return own;
}

function rateExceeded(): KmsError {
  return new KmsError('ThrottlingException', 'Rate exceeded');
}
