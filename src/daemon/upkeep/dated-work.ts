/**
 * Work that is found by its dates, because there is too much of it to look at all: the rotations of a million keys, the deletions and
 * expiries of many.
 *
 * The first of what came due over the last stop is looked at, and the first of what comes due after it, some hundred each: as it is done,
 * what comes after is found. What the clocks said when it was put on record is kept with it, or, of a rotation, what they said when it came
 * within a day of its date. So it makes no difference when it is found, and what is disabled for years is not watched.
 *
 * Accepted: of what came due over a stop, the first works have their waits on record. The others wait as long, and together, for 24 hours
 * of this run: a restart in between has them wait anew. And what is late, because its HSM is away, takes no room of the others until there
 * is ten times as much of it as is looked at: then the rest of its kind waits for the HSM, too.
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
/** What the clocks said is kept so often. */
const keptEveryMs = 60 * 60 * 1000;
/** The last days with an hour between them; the longer ago, the fewer. */
const maxKept = 512;
/** Clocks differ by that without anybody having set one. */
const driftMs = 60_000;

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

  constructor(tasks: readonly UpkeepTask[], worksAtOnce = defaultWorksAtOnce) {
    this.#tasks = tasks;
    this.#worksAtOnce = worksAtOnce;
  }

  /**
   * What is to be looked at.
   * @param waiting Names of works with a wait on record: they are looked at whatever else there is.
   * @param lateOf How much of what was looked at of a task was tried and failed.
   */
  *next(
    now: Reading,
    waiting: readonly string[],
    lateOf: (task: UpkeepTask) => number,
  ): Iterable<{ readonly task: UpkeepTask; readonly due: DueWork }> {
    if (this.#readings.length === 0) this.#readings.push(now);
    const startMs = Math.min(this.#readings[0]?.wallMs ?? now.wallMs, now.wallMs + aheadMs);
    for (const task of this.#dated()) {
      const limit = this.#worksAtOnce + Math.min(lateOf(task), this.#worksAtOnce * lateFactor);
      const overStop = task.ahead.between({ afterMs: 0, untilMs: startMs }, limit);
      const since = task.ahead.between({ afterMs: startMs, untilMs: now.wallMs + aheadMs }, limit);
      const named = new Set<string>();
      for (const due of [...overStop, ...since]) {
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

function isDated(task: UpkeepTask): task is Dated {
  return task.ahead !== undefined;
}
