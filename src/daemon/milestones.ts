/** When this instance did something for the first time: written once, by the first start of a version that does it. */

import type { LoadedMetadata } from '../store/metadata-store.ts';
import { added } from '../store/records/changes.ts';
import type { MilestoneRecord } from '../store/records/records.ts';
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
  if (known !== undefined) return known;
  const record: MilestoneRecord = { milestone, version: 1, reachedAtMs: nowMs, ranMs: 0 };
  await turns.take(() => ({ changes: [added('milestone', record)], response: record }));
  return record;
}
