/** What upkeep tells operators: all of it, or as much of it as stands in the status. */

import type { WorkReport } from './upkeep.ts';

/** More than anybody reads; the rest is counted. */
const maxInStatus = 10;
const maxInList = 1_000;

/** Work as it goes over the wire. */
export interface ToldWork extends Omit<WorkReport, 'dueAtMs'> {
  readonly dueAt: string;
}

/** What is due next, and what is not done though its date has come. */
export interface UpkeepSummary {
  readonly scheduled: number;
  readonly next: ToldWork | null;
  readonly waiting: number;
  readonly late: number;
  /** The first of those that wait or are late. */
  readonly overdue: readonly ToldWork[];
}

/** What comes after it all. */
export interface LaterWork {
  readonly count: number;
  readonly first: readonly WorkReport[];
}

const nothing: LaterWork = { count: 0, first: [] };

/** @param all What is due soonest first. */
export function upkeepSummary(all: readonly WorkReport[], later: LaterWork = nothing): UpkeepSummary {
  const inState = (state: WorkReport['state']): readonly WorkReport[] => all.filter((each) => each.state === state);
  const scheduled = inState('scheduled');
  const [waiting, late] = [inState('waiting'), inState('late')];
  const [next] = [...scheduled, ...later.first];
  return {
    scheduled: scheduled.length + later.count,
    next: next === undefined ? null : told(next),
    waiting: waiting.length,
    late: late.length,
    overdue: [...late, ...waiting].slice(0, maxInStatus).map(told),
  };
}

/** @param all What is due soonest first. */
export function upkeepList(
  all: readonly WorkReport[],
  later: (limit: number) => LaterWork = () => nothing,
): { readonly work: readonly ToldWork[]; readonly more: number } {
  const { count, first } = later(maxInList);
  const work = [...all.slice(0, maxInList), ...first].slice(0, maxInList);
  return { work: work.map(told), more: all.length + count - work.length };
}

export function told({ dueAtMs, ...others }: WorkReport): ToldWork {
  return { ...others, dueAt: new Date(dueAtMs).toISOString() };
}
