/**
 * Work that is found by its dates, because there is too much of it to look at all: the rotations of a million keys.
 *
 * The first of what came due over the last stop is looked at, and the first of what comes due after it, a thousand each: as it is done,
 * what comes after is found. How it would have looked when it came within a day of its date, had it been found then, follows from what
 * the clocks said at that time, which is kept. So it makes no difference when it is found, and what is disabled for years is not watched.
 *
 * Accepted: of what came due over a stop, a thousand works have their waits on record. The others wait as long, and together, for 24 hours
 * of this run: a restart in between has them wait anew.
 */

import type { Reading } from './clocks.ts';
import { type Sight, sightOf, waitAfterStopMs } from './due-times.ts';
import type { DueWork, UpkeepTask, WorkAhead } from './upkeep-task.ts';

/**
 * Work is seen from so long before it is due. A wall clock that is set forward by more than that in the meantime has it done so much
 * earlier as if it had been set over a stop: not before it was watched for a day.
 */
export const aheadMs = waitAfterStopMs;
/** Of each task, and of each of both kinds: to find and to judge so many takes some 10 ms. */
const defaultWorksAtOnce = 1_000;
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
   */
  *next(now: Reading, waiting: readonly string[]): Iterable<{ readonly task: UpkeepTask; readonly due: DueWork }> {
    if (this.#readings.length === 0) this.#readings.push(now);
    const startMs = Math.min(this.#readings[0]?.wallMs ?? now.wallMs, now.wallMs + aheadMs);
    for (const task of this.#dated()) {
      const overStop = task.ahead.between({ afterMs: 0, untilMs: startMs }, this.#worksAtOnce);
      const since = task.ahead.between({ afterMs: startMs, untilMs: now.wallMs + aheadMs }, this.#worksAtOnce);
      const named = new Set<string>();
      for (const due of [...overStop, ...since]) {
        named.add(due.work);
        yield { task, due };
      }
      for (const work of waiting) {
        const due = named.has(work) ? undefined : task.ahead.find(work);
        if (due !== undefined) yield { task, due };
      }
      const last = since.length < this.#worksAtOnce ? undefined : since.at(-1)?.dueAtMs;
      if (last === undefined) this.#lookedTo.delete(task);
      else this.#lookedTo.set(task, last);
    }
  }

  /** How work of this date looks that is found now. */
  sight(dueAtMs: number, now: Reading): Sight {
    const all = [...this.#readings, ...(this.#last === undefined ? [] : [this.#last]), now];
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
