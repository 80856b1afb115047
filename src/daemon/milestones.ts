/**
 * When this instance did something for the first time: written by the first start of a version that does it. One that lies in the
 * future was written under a wrong clock, and is reached now: what is counted from it would else be put off by years.
 * Also how many starts gave numbers to backing keys.
 */

import { maxCountedStarts, StartNumbers } from '../keys/start-numbers.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import { added, replaced } from '../store/records/changes.ts';
import type { MilestoneRecord } from '../store/records/records.ts';
import { StoreError } from '../store/store-error.ts';
import type { Turns } from '../store/turns.ts';

/** What is reached for the first time by a start. */
export type Milestone = 'upkeep' | 'usage-tracking';

/** The milestone as it is on record, reached now if it never was. */
export async function reachMilestone(
  milestone: Milestone,
  turns: Turns,
  { milestone: reached }: Pick<LoadedMetadata, 'milestone'>,
  nowMs: number,
): Promise<MilestoneRecord> {
  const known = reached.find((record) => record.milestone === milestone);
  if (known !== undefined && known.reachedAtMs <= nowMs) return known;
  const version = (known?.version ?? 0) + 1;
  const record: MilestoneRecord = { milestone, version, reachedAtMs: nowMs, ranMs: known?.ranMs ?? 0 };
  const change =
    known === undefined ? added('milestone', record) : replaced('milestone', known, { reachedAtMs: nowMs });
  await turns.take(() => ({ changes: [change], response: undefined }), { isQuiet: true });
  return record;
}

/**
 * The numbers that a start gives to backing keys, counted as a milestone whose version is the number of such starts.
 * @param isOnDemand Are keys read on demand? Otherwise this start is not counted, nor after `maxCountedStarts`, and those that were go on to count.
 * @throws StoreError `damaged` where nobody knows how many there were: with fewer, keys would encrypt more often than they may.
 */
export async function numbersOfStart(
  turns: Turns,
  { milestone: reached, quarantined }: Pick<LoadedMetadata, 'milestone' | 'quarantined'>,
  { isOnDemand, nowMs }: { readonly isOnDemand: boolean; readonly nowMs: number },
): Promise<StartNumbers> {
  const refused = quarantined.find(({ kind, id }) => kind === 'milestone' && id === countedStart);
  if (refused !== undefined)
    throw new StoreError(
      'damaged',
      `the record of how many starts gave encryption numbers to keys is refused: ${refused.reason}; restore a backup`,
    );
  const known = reached.find(({ milestone }) => milestone === countedStart);
  const starts = known?.version ?? 0;
  if (!isOnDemand || starts >= maxCountedStarts) return new StartNumbers(starts, false);
  const change =
    known === undefined
      ? added('milestone', { milestone: countedStart, version: 1, reachedAtMs: nowMs, ranMs: 0 })
      : replaced('milestone', known, { reachedAtMs: nowMs });
  await turns.take(() => ({ changes: [change], response: undefined }), { isQuiet: true });
  return new StartNumbers(starts + 1, true);
}

const countedStart = 'start';
