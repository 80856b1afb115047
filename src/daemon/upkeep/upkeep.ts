/**
 * Upkeep: what the daemon does of its own accord when time has come, as one loop over due times that stand in records.
 *
 * Each round looks at what the tasks have scheduled, has the pure rule (`due-times.ts`) judge it by both clocks, and performs
 * what is due, one after the other: a task that waits for a token holds up the others, and no request. A round comes when a
 * date does, soon after records changed, and every minute, because clocks can be set. What fails is late: it is tried again
 * after a pause that doubles, `report` says why, and the log does once for each reason.
 *
 * INVARIANT: nothing is performed that `judge` does not call due; `DueWork.isUrgent` is the one exception, and the task's word.
 *
 * Accepted: work is seen when the change that brings it is applied, some milliseconds after it was decided on. Whoever sets the
 * wall clock in between has its time counted by the new one.
 */

import { KmsError } from '../../kms/errors.ts';
import type { Logger } from '../../kms/logger.ts';
import type { Change } from '../../store/records/changes.ts';
import type { RecordKind } from '../../store/records/records.ts';
import type { Announcer, Fold, Turns } from '../../store/turns.ts';
import type { Clocks, Reading } from './clocks.ts';
import { DatedWork } from './dated-work.ts';
import { isOutdated, judge, pauseMs, type Sight, sightOf, type Verdict } from './due-times.ts';
import type { DueWork, OperatorsWord, UpkeepTask } from './upkeep-task.ts';
import type { Waiting, Waits } from './waits.ts';

export interface UpkeepOptions {
  readonly tasks: readonly UpkeepTask[];
  readonly clocks: Clocks;
  readonly turns: Turns;
  readonly waits: Waits;
  readonly log: Logger;
  /** Of a task's work that is found by its dates, so much is looked at together; 200 unless given. */
  readonly worksAtOnce?: number;
}

/** How a piece of work stands, for operators. */
export interface WorkReport {
  readonly work: string;
  readonly kind: string;
  readonly dueAtMs: number;
  /**
   * `scheduled`: its date has not come. `waiting`: the wall clock says that it has, and that is not enough. `due`: it is being done,
   * or is next. `late`: it was tried and failed.
   */
  readonly state: 'scheduled' | 'waiting' | 'due' | 'late';
  /** Of what waits or is late: why. */
  readonly because: string | null;
  /** Of what waits: after how much running time it is done; of what is late: after how long it is tried again. */
  readonly leftMs: number | null;
}

interface Failure {
  readonly reason: string;
  readonly times: number;
  readonly retryBootMs: number;
}

interface KnownWork extends Scheduled {
  readonly sight: Sight;
  failure: Failure | undefined;
  /** Until it is done, as operators said last. */
  word: OperatorsWord;
}

const nothingSaid: OperatorsWord = { leavesMaterial: false };
/** Clocks can be set, so nothing is waited for for longer. */
const longestSleepMs = 60_000;
/** Many records change one after the other; they are looked at together. */
const afterChangesMs = 1_000;
/** The kinds of records from which something becomes due. */
const watchedKinds: ReadonlySet<RecordKind> = new Set(['key', 'backingKey', 'wrappingKey', 'remnant', 'domainKey']);

export class Upkeep implements Fold {
  readonly #options: UpkeepOptions;
  readonly #dated: DatedWork;
  #known: Map<string, KnownWork> = new Map();
  /** When records changed for the first time since the last look: what came with them is seen as of then. */
  #changedAt: Reading | undefined;
  #cancelTimer: (() => void) | undefined;
  #round: Promise<void> | undefined;
  /** Why the last round was not finished. */
  #trouble: string | undefined;
  #state: 'new' | 'running' | 'stopped' = 'new';

  constructor(options: UpkeepOptions) {
    this.#options = options;
    this.#dated = new DatedWork(options.tasks, options.worksAtOnce);
    options.turns.follow(this);
  }

  /** Begins; what is due is done in the background. */
  start(): void {
    this.#state = 'running';
    this.#changedAt = this.#options.clocks.now();
    this.#wake();
  }

  /** Begins nothing any more, waits for the work in progress, and writes down for how long the daemon has run. Never rejects. */
  async stop(): Promise<void> {
    const hasRun = this.#state === 'running';
    this.#state = 'stopped';
    this.#cancelTimer?.();
    await this.#round;
    if (hasRun) await this.#settleWaits(true).catch((error) => this.#failed(error));
  }

  apply(changes: readonly Change[]): void {
    if (this.#state !== 'running' || this.#changedAt !== undefined) return;
    if (!changes.some((change) => watchedKinds.has('put' in change ? change.put : change.remove))) return;
    this.#changedAt = this.#options.clocks.now();
    if (this.#round === undefined) this.#sleep(afterChangesMs);
  }

  /**
   * An operator's word that the wall clock is right about this work, whatever else says that it is too early.
   * @throws KmsError `NotFoundException` for what is not scheduled, `ValidationException` before its date, and for a word that is about no such work.
   */
  async confirm(work: string, by?: Announcer, word = nothingSaid): Promise<WorkReport> {
    this.#look();
    const now = this.#options.clocks.now();
    const known = this.#known.get(work) ?? this.#found(work, now);
    if (known === undefined || known.due.isHeld === true) {
      throw new KmsError('NotFoundException', 'Nothing of this name is scheduled, waiting or late.');
    }
    if (this.#judge(known, now).is === 'scheduled') throw notDueBefore(known.due);
    if (word.leavesMaterial && known.task.canLeaveMaterial !== true) throw leavesNothing();
    await this.#options.waits.confirm(known.due, now, by);
    known.word = word;
    // Also what is late is tried at once.
    if (known.failure !== undefined) known.failure = { ...known.failure, retryBootMs: now.bootMs };
    const report = this.#describe(known, now);
    this.#wake();
    return report;
  }

  /** What comes after all that `report` tells of: how much that is, and the first of it. Such is work that is found by its dates. */
  later(limit: number): { readonly count: number; readonly first: readonly WorkReport[] } {
    const looked = [...this.#known.values()].filter(({ due, isAhead }) => isAhead === true && due.isHeld !== true);
    const { count, first } = this.#dated.later(this.#options.clocks.now(), looked.length, limit);
    const told = { state: 'scheduled', because: null, leftMs: null } as const;
    return {
      count,
      first: first.map(({ task: { kind }, due: { work, dueAtMs } }) => ({ work, kind, dueAtMs, ...told })),
    };
  }

  /** Everything that is to come, what is due soonest first; not what is held, nor what `later` tells of. */
  report(): readonly WorkReport[] {
    this.#look();
    const now = this.#options.clocks.now();
    const all = [...this.#known.values()]
      .filter(({ due }) => due.isHeld !== true)
      .sort((one, other) => one.due.dueAtMs - other.due.dueAtMs);
    return all.map((known) => this.#describe(known, now));
  }

  #sleep(delayMs: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#state === 'running' ? this.#options.clocks.after(delayMs, () => this.#wake()) : undefined;
  }

  /** Begins a round, unless there is one: that one finds by itself what is due by then. */
  #wake(): void {
    if (this.#state !== 'running' || this.#round !== undefined) return;
    this.#cancelTimer?.();
    this.#round = this.#perform()
      .then(() => {
        this.#trouble = undefined;
      })
      .catch((error) => this.#failed(error))
      .finally(() => {
        this.#round = undefined;
        this.#sleep(this.#pauseMs());
      });
  }

  async #perform(): Promise<void> {
    this.#look();
    await this.#settleWaits(false);
    const now = this.#options.clocks.now();
    const due = [...this.#known.values()].filter((known) => this.#isToBeDone(known, now));
    due.sort((one, other) => one.due.dueAtMs - other.due.dueAtMs);
    for (const known of due) {
      if (this.#state !== 'running') return;
      // Time passes between two of them, and clocks can be set in it.
      if (this.#known.get(known.due.work) === known && this.#isToBeDone(known, this.#options.clocks.now())) {
        await this.#performOne(known);
      }
    }
    if (due.length === 0) return;
    this.#look();
    for (const { due: done } of due) {
      const { failure } = this.#known.get(done.work) ?? {};
      if (failure?.reason !== isStillThere || failure.times > 1) continue;
      this.#options.log.error({ work: done.work }, 'upkeep did what was due, and it is due still; it is tried again');
    }
    await this.#settleWaits(false);
  }

  #isToBeDone(known: KnownWork, now: Reading): boolean {
    if (known.due.isHeld === true) return false;
    return this.#judge(known, now).is === 'due' && (known.failure?.retryBootMs ?? 0) <= now.bootMs;
  }

  async #performOne(known: KnownWork): Promise<void> {
    const { task, due } = known;
    const before = known.failure;
    let reason: string;
    try {
      if ((await task.perform(due, known.word)) === 'unfinished') {
        (this.#known.get(due.work) ?? known).failure = undefined;
        this.#changedAt ??= this.#options.clocks.now();
        return;
      }
      // Where it is still scheduled when it is looked for next, that was a failure too.
      reason = isStillThere;
    } catch (error) {
      reason = reasonOf(error);
      if (before?.reason !== reason) {
        this.#options.log.warn(
          { work: due.work, reason, err: error },
          'upkeep cannot do what is due; it is tried again',
        );
      }
    }
    const times = (before?.times ?? 0) + 1;
    // Whoever asked for a report meanwhile may have had it looked at anew.
    (this.#known.get(due.work) ?? known).failure = {
      reason,
      times,
      retryBootMs: this.#options.clocks.now().bootMs + pauseMs(times),
    };
    this.#changedAt ??= this.#options.clocks.now();
  }

  /** Looks anew at what is scheduled, where that may be other than before, and at what is to be seen anew. */
  #look(): void {
    const now = this.#options.clocks.now();
    const { tasks } = this.#options;
    const hasChanged = this.#changedAt !== undefined || tasks.some(({ ahead }) => ahead !== undefined);
    const asOf = this.#changedAt ?? now;
    if (!hasChanged) {
      if (![...this.#known.values()].some(({ sight }) => isOutdated(sight, now))) return;
    }
    const known = new Map<string, KnownWork>();
    for (const { task, due, isAhead = false } of hasChanged ? this.#scheduled(now) : this.#known.values()) {
      const before = this.#known.get(due.work);
      const isSame = before !== undefined && before.due.dueAtMs === due.dueAtMs;
      const seen = (): Sight => (isAhead ? this.#dated.sight(due, now) : sightOf(due.dueAtMs, isSame ? now : asOf));
      const sight = isSame && !isOutdated(before.sight, now) ? before.sight : seen();
      const isUnchanged = isSame && sight === before.sight && isSameWork(before.due, due);
      known.set(
        due.work,
        isUnchanged ? before : { task, due, isAhead, sight, ...(isSame ? saidOf(before) : nothingKnown) },
      );
    }
    this.#known = known;
    this.#dated.looked(now);
    // Only now: what could not be looked at is looked at again.
    this.#changedAt = undefined;
  }

  *#scheduled(now: Reading): Iterable<Scheduled> {
    const { tasks, waits } = this.#options;
    for (const task of tasks) for (const due of task.scheduled()) yield { task, due };
    const late = new Map<UpkeepTask, Set<string>>();
    // Of what has just been done it is yet to be seen that it is there no more.
    for (const { task, due, failure } of this.#known.values())
      if (failure !== undefined && (failure.reason !== isStillThere || failure.times > 1))
        late.set(task, (late.get(task) ?? new Set<string>()).add(due.work));
    const lateOf = (task: UpkeepTask): ReadonlySet<string> => late.get(task) ?? new Set();
    for (const found of this.#dated.next(now, [...waits.works()], lateOf)) yield { ...found, isAhead: true };
  }

  /** Work that is found by its dates, of which there is more than is looked at. From now on it is. @throws KmsError before its date. */
  #found(work: string, now: Reading): KnownWork | undefined {
    const found = this.#dated.find(work);
    if (found === undefined || found.due.isHeld === true) return undefined;
    if (found.due.dueAtMs > now.wallMs) throw notDueBefore(found.due);
    const known = { ...found, isAhead: true, sight: this.#dated.sight(found.due, now), ...nothingKnown };
    this.#known.set(work, known);
    return known;
  }

  #judge({ due, sight }: KnownWork, now: Reading): Verdict {
    if (due.isUrgent === true) return { is: 'due' };
    const { waits } = this.#options;
    const record = waits.find(due);
    const wait = record && { ranMs: record.ranMs, isConfirmed: record.confirmedAtMs !== null };
    return judge(sight, now, waits.ranMs(now), wait);
  }

  async #settleWaits(isLast: boolean): Promise<void> {
    const now = this.#options.clocks.now();
    const needs = { due: 'keep', scheduled: 'none', doubtful: 'keep', waiting: 'wait' } as const satisfies Record<
      Verdict['is'],
      Waiting['needs']
    >;
    const all = [...this.#known.values()].map((known) => ({
      due: known.due,
      needs: needs[this.#judge(known, now).is],
    }));
    await this.#options.waits.settle(all, now, isLast);
  }

  /** Until something may be due, or the clocks have to be looked at. */
  #pauseMs(): number {
    if (this.#changedAt !== undefined) return afterChangesMs;
    const now = this.#options.clocks.now();
    let pause = longestSleepMs;
    for (const known of this.#known.values()) {
      if (known.due.isHeld === true) continue;
      const verdict = this.#judge(known, now);
      const retryMs = (known.failure?.retryBootMs ?? 0) - now.bootMs;
      const leftMs =
        verdict.is === 'due' ? retryMs : verdict.is === 'scheduled' ? known.due.dueAtMs - now.wallMs : verdict.leftMs;
      if (leftMs < pause) pause = leftMs;
    }
    return Math.max(pause, afterChangesMs);
  }

  #describe(known: KnownWork, now: Reading): WorkReport {
    const { task, due, failure } = known;
    const verdict = this.#judge(known, now);
    const head = { work: due.work, kind: task.kind, dueAtMs: due.dueAtMs };
    switch (verdict.is) {
      case 'scheduled':
        return { ...head, state: 'scheduled', because: null, leftMs: null };
      case 'waiting':
        return { ...head, state: 'waiting', because: cameDueOverStop, leftMs: verdict.leftMs };
      case 'doubtful':
        return { ...head, state: 'waiting', because: clocksDisagree, leftMs: verdict.leftMs };
      case 'due':
        if (failure === undefined) return { ...head, state: 'due', because: null, leftMs: null };
        return {
          ...head,
          state: 'late',
          because: failure.reason,
          leftMs: Math.max(0, failure.retryBootMs - now.bootMs),
        };
      default:
        return verdict satisfies never;
    }
  }

  /** Told once for each reason. */
  #failed(error: unknown): void {
    const reason = reasonOf(error);
    if (reason !== this.#trouble) {
      this.#options.log.error({ reason, err: error }, 'upkeep could not finish its round; it tries again');
    }
    this.#trouble = reason;
  }
}

const nothingKnown = { failure: undefined, word: nothingSaid } as const;
const saidOf = ({ failure, word }: KnownWork): Pick<KnownWork, 'failure' | 'word'> => ({ failure, word });
const isStillThere = 'it was done, and its records say that it is still to be done';
const cameDueOverStop = 'it came due while the daemon was stopped, when nobody watched the clock';
const clocksDisagree =
  'the clock was set while the daemon was running, and by the time that passed since it is not due';

function isSameWork(one: DueWork, other: DueWork): boolean {
  return one.isUrgent === other.isUrgent && one.isHeld === other.isHeld;
}

interface Scheduled {
  readonly task: UpkeepTask;
  readonly due: DueWork;
  /** It was found by its date. */
  readonly isAhead?: boolean;
}

function notDueBefore({ dueAtMs }: DueWork): KmsError {
  const date = new Date(dueAtMs).toISOString();
  return new KmsError('ValidationException', `It is not due before ${date}; what waits or is late can be confirmed.`);
}

function leavesNothing(): KmsError {
  return new KmsError(
    'ValidationException',
    'Only the deletion of a key, or of what a move left, can leave material where it is.',
  );
}

/** For operators: what a caller is told of an internal error says nothing. */
function reasonOf(error: unknown): string {
  const cause = error instanceof KmsError ? (error.cause ?? error) : error;
  return cause instanceof Error ? cause.message : String(cause);
}
