/**
 * Work that is found by its dates, because there is too much of it to look at all: the rotations of a million keys, the deletions and
 * expiries of many.
 *
 * The first of what came due over the last stop is looked at, and the first of what comes due after it, some hundred each: as it is done,
 * what comes after is found. What the clocks said when it was put on record is kept with it, or, of a rotation, what they said when it came
 * within a day of its date. So it makes no difference when it is found, and what is disabled for years is not watched.
 *
 * Accepted: of what came due over a stop, the first works have their waits on record. The others wait as long, and together, for 24 hours
 * of this run: a restart in between has them wait anew. What is late, because its HSM is away, takes no room of the others until there
 * is ten times as much of it as is looked at. From then on what is due behind it is gone through a part at a time, so that none of it waits for
 * an HSM that is not its own; what of that is late, too, is forgotten when the next part is looked at, and tried again when all was gone through.
 */

import type { Reading } from './clocks.ts';
import { type Sight, sightOf, waitAfterStopMs } from './due-times.ts';
import type { DueWork, UpkeepTask, WorkAhead } from './upkeep-task.ts';

/**
 * Work is looked at from so long before it is due, and seen from then on where it does not say since when it is on record. Of such, a wall
 * clock that is set forward by more than that in the meantime has it done so much earlier as if it had been set over a stop: not before it
 * was watched for a day.
 */
export const aheadMs = waitAfterStopMs;
/** Of each task, and of each of both kinds: others wait for as long as it takes to find and to judge so many. */
const defaultWorksAtOnce = 200;
/** So many times as much is looked at where that is how much is late. */
const lateFactor = 10;
/** What is behind so much is gone through anew after that: all of it may be late. */
const restMs = 60 * 60 * 1000;
/** What the clocks said is kept so often. */
const keptEveryMs = 60 * 60 * 1000;
/** The last days with an hour between them; the longer ago, the fewer. */
const maxKept = 512;
/** Clocks differ by that without anybody having set one. */
const driftMs = 60_000;

/** How far it was gone through what is due behind what is late. */
interface Passage {
  /** The date up to which all was tried; `undefined`: it is begun anew. */
  afterMs: number | undefined;
  /** By the boot-time clock. */
  notBeforeBootMs: number;
}

interface Dated extends UpkeepTask {
  readonly ahead: WorkAhead;
}

export class DatedWork {
  readonly #tasks: readonly UpkeepTask[];
  readonly #worksAtOnce: number;
  /** In the order in which they were taken; the first one is of the start. */
  #readings: Reading[] = [];
  #last: Reading | undefined;
  /** Of a task, the date up to which it was looked at; absent: as far as `aheadMs`. */
  readonly #lookedTo = new Map<UpkeepTask, number>();
  /** Of a task, what came due over the last stop, and what did since. */
  readonly #passages = new Map<UpkeepTask, { readonly overStop: Passage; readonly since: Passage }>();

  constructor(tasks: readonly UpkeepTask[], worksAtOnce = defaultWorksAtOnce) {
    this.#tasks = tasks;
    this.#worksAtOnce = worksAtOnce;
  }

  /**
   * What is to be looked at.
   * @param waiting Names of works with a wait on record: they are looked at whatever else there is.
   * @param lateOf What of that which was looked at of a task was tried and failed.
   */
  *next(
    now: Reading,
    waiting: readonly string[],
    lateOf: (task: UpkeepTask) => ReadonlySet<string>,
  ): Iterable<{ readonly task: UpkeepTask; readonly due: DueWork }> {
    if (this.#readings.length === 0) this.#readings.push(now);
    const startMs = Math.min(this.#readings[0]?.wallMs ?? now.wallMs, now.wallMs + aheadMs);
    for (const task of this.#dated()) {
      const late = lateOf(task);
      const limit = this.#worksAtOnce + Math.min(late.size, this.#worksAtOnce * lateFactor);
      const overStop = task.ahead.between({ afterMs: 0, untilMs: startMs }, limit);
      const since = task.ahead.between({ afterMs: startMs, untilMs: now.wallMs + aheadMs }, limit);
      const named = new Set<string>();
      const passages = this.#passages.get(task) ?? { overStop: newPassage(), since: newPassage() };
      this.#passages.set(task, passages);
      const behind = [
        ...this.#behind(task, overStop, { late, limit, untilMs: startMs, now }, passages.overStop),
        ...this.#behind(task, since, { late, limit, untilMs: now.wallMs, now }, passages.since),
      ];
      for (const due of [...overStop, ...since, ...behind]) {
        named.add(due.work);
        yield { task, due };
      }
      for (const work of waiting) {
        const due = named.has(work) ? undefined : task.ahead.find(work);
        if (due !== undefined) yield { task, due };
      }
      const last = since.length < limit ? undefined : since.at(-1)?.dueAtMs;
      if (last === undefined) this.#lookedTo.delete(task);
      else this.#lookedTo.set(task, last);
    }
  }

  /** Of what is due behind the first works, where all of these are late and as many as are looked at: the next part. */
  #behind(
    { ahead }: Dated,
    first: readonly DueWork[],
    {
      late,
      limit,
      untilMs,
      now,
    }: {
      readonly late: ReadonlySet<string>;
      readonly limit: number;
      readonly untilMs: number;
      readonly now: Reading;
    },
    passage: Passage,
  ): readonly DueWork[] {
    const isLate = ({ work }: DueWork): boolean => late.has(work);
    const last = first.at(-1);
    const isAllLate = limit > this.#worksAtOnce * lateFactor && first.length === limit && first.every(isLate);
    if (last === undefined || !isAllLate) {
      Object.assign(passage, newPassage());
      return [];
    }
    if (now.bootMs < passage.notBeforeBootMs) return [];
    // Others may have the date of the last one.
    const begin = last.dueAtMs - 1;
    const pageAfter = (afterMs: number) => wholeDates(ahead, { afterMs, untilMs }, this.#worksAtOnce);
    let afterMs = Math.max(passage.afterMs ?? begin, begin);
    let page = pageAfter(afterMs);
    if (page.length > 0 && page.every(isLate)) {
      afterMs = page.at(-1)?.dueAtMs ?? afterMs;
      page = pageAfter(afterMs);
    }
    passage.afterMs = page.length === 0 ? undefined : afterMs;
    passage.notBeforeBootMs = page.length === 0 ? now.bootMs + restMs : 0;
    return page;
  }

  /** How this work looks, when it is found now. */
  sight({ dueAtMs, seen }: DueWork, now: Reading): Sight {
    if (seen !== undefined && seen.wallMs < dueAtMs) return sightOf(dueAtMs, seen);
    const all = [...this.#readings, ...(this.#last === undefined ? [] : [this.#last]), now];
    if (seen !== undefined) {
      // By a clock that was set back since it is not due after all: then it was seen anew.
      const isAnew = ({ wallMs, bootMs }: Reading): boolean => bootMs >= seen.bootMs && wallMs < dueAtMs;
      return sightOf(dueAtMs, all.find(isAnew) ?? seen);
    }
    const before = all.filter(({ wallMs }) => wallMs < dueAtMs);
    const seenAt = before.find(({ wallMs }) => wallMs >= dueAtMs - aheadMs) ?? before.at(-1) ?? all[0] ?? now;
    return sightOf(dueAtMs, seenAt);
  }

  /** It was looked. */
  looked(now: Reading): void {
    this.#last = now;
    const kept = this.#readings.at(-1);
    if (kept === undefined) return;
    const passedMs = now.bootMs - kept.bootMs;
    const wasSet = Math.abs(now.wallMs - kept.wallMs - passedMs) > driftMs;
    if (passedMs < keptEveryMs && !wasSet) return;
    this.#readings.push(now);
    if (this.#readings.length > maxKept)
      this.#readings = this.#readings.filter((_, at, { length }) => at >= length / 2 || at % 2 === 0);
  }

  /** One that is due, or will be, whether it is looked at or not. */
  find(work: string): { readonly task: UpkeepTask; readonly due: DueWork } | undefined {
    for (const task of this.#dated()) {
      const due = task.ahead.find(work);
      if (due !== undefined) return { task, due };
    }
    return undefined;
  }

  /**
   * What comes after all that is looked at: how much, and the first of it.
   * @param looked How much is looked at and not held.
   */
  later(now: Reading, looked: number, limit: number) {
    const dated = [...this.#dated()];
    const all = dated.reduce((sum, { ahead }) => sum + ahead.count(), 0);
    const first = dated.flatMap((task) => {
      const afterMs = this.#lookedTo.get(task) ?? now.wallMs + aheadMs;
      const some = task.ahead.between({ afterMs, untilMs: Number.MAX_SAFE_INTEGER }, limit);
      return some.map((due) => ({ task, due }));
    });
    first.sort((one, other) => one.due.dueAtMs - other.due.dueAtMs);
    return { count: Math.max(0, all - looked), first: first.slice(0, limit) };
  }

  *#dated(): Iterable<Dated> {
    for (const task of this.#tasks) if (isDated(task)) yield task;
  }
}

function newPassage(): Passage {
  return { afterMs: undefined, notBeforeBootMs: 0 };
}

/** About so many of the first works, so that what is left has later dates than they. */
function wholeDates(ahead: WorkAhead, range: Parameters<WorkAhead['between']>[0], limit: number): readonly DueWork[] {
  const found = ahead.between(range, limit);
  const lastMs = found.at(-1)?.dueAtMs;
  if (found.length < limit) return found;
  const whole = found.filter(({ dueAtMs }) => dueAtMs !== lastMs);
  return whole.length > 0 ? whole : wholeDates(ahead, range, 2 * limit);
}

function isDated(task: UpkeepTask): task is Dated {
  return task.ahead !== undefined;
}
