/**
 * What upkeep has on record of its own: for how long the daemon has been running, all runs together, and since when work waits.
 *
 * The running time stands in the milestone `upkeep` and is written only while something waits, every few minutes and at stop.
 * What a crash takes of it is waited for again: it makes work later, never earlier. A wait says what the running time was when
 * it began, so that one number serves all of them. It is removed when its work is done, cancelled or put off, and when the wall
 * clock says that its time has not come after all.
 */

import type { LoadedMetadata } from '../../store/metadata-store.ts';
import { added, type Change, removed, replaced } from '../../store/records/changes.ts';
import type { MilestoneRecord, UpkeepWaitRecord } from '../../store/records/records.ts';
import type { Announcer, Fold, Turns } from '../../store/turns.ts';
import type { Reading } from './clocks.ts';
import type { DueWork } from './upkeep-task.ts';

/** How much running time a crash can take. */
const writtenEveryMs = 5 * 60 * 1000;
/** Each change has a MAC, which the HSM computes: the turn of others comes in between. */
const maxChangesPerTurn = 1_000;

/** What a work's wait has to become. */
export interface Waiting {
  readonly due: Pick<DueWork, 'work' | 'dueAtMs'>;
  /** `wait`: one begins unless there is one. `keep`: one that there is goes on. `none`: one that there is ends. */
  readonly needs: 'wait' | 'keep' | 'none';
}

export class Waits implements Fold {
  readonly #turns: Turns;
  readonly #records: Map<string, UpkeepWaitRecord>;
  #milestone: MilestoneRecord;
  /** What the running time was, and what the boot-time clock said, when this process began to count. */
  readonly #ranBeforeMs: number;
  readonly #sinceBootMs: number;

  /** @param milestone `upkeep`. */
  constructor(
    turns: Turns,
    loaded: Pick<LoadedMetadata, 'upkeepWait'>,
    milestone: MilestoneRecord,
    { bootMs }: Reading,
  ) {
    this.#turns = turns;
    this.#records = new Map(loaded.upkeepWait.map((record) => [record.work, record]));
    this.#milestone = milestone;
    this.#ranBeforeMs = milestone.ranMs;
    this.#sinceBootMs = bootMs;
    turns.follow(this);
  }

  apply(changes: readonly Change[]): void {
    for (const change of changes) {
      if ('put' in change) {
        if (change.put === 'upkeepWait') this.#records.set(change.record.work, change.record);
        if (change.put === 'milestone' && change.record.milestone === this.#milestone.milestone) {
          this.#milestone = change.record;
        }
      } else if (change.remove === 'upkeepWait') {
        this.#records.delete(change.record.work);
      }
    }
  }

  /** What has a wait on record. */
  works(): Iterable<string> {
    return this.#records.keys();
  }

  /** The running time of all runs together. */
  ranMs({ bootMs }: Reading): number {
    return this.#ranBeforeMs + Math.max(0, Math.floor(bootMs - this.#sinceBootMs));
  }

  /** The wait of this work for this date, if there is one. */
  find({ work, dueAtMs }: Pick<DueWork, 'work' | 'dueAtMs'>): UpkeepWaitRecord | undefined {
    const record = this.#records.get(work);
    return record?.dueAtMs === dueAtMs ? record : undefined;
  }

  /** Puts an operator's word on record. */
  async confirm(due: Pick<DueWork, 'work' | 'dueAtMs'>, now: Reading, by?: Announcer): Promise<void> {
    const confirmedAtMs = Math.floor(now.wallMs);
    const decide = () => ({ changes: [this.#put(due, now, { confirmedAtMs })], response: undefined });
    await this.#turns.take(decide, { by });
  }

  /**
   * Makes the records what they have to be. A wait of what is not named ends.
   * @param isLast The running time is written however recently it was.
   */
  async settle(all: readonly Waiting[], now: Reading, isLast: boolean): Promise<void> {
    const needed = new Map(all.map((waiting) => [waiting.due.work, waiting]));
    for (;;) {
      const changes = this.#outstanding(needed, now, isLast).slice(0, maxChangesPerTurn);
      if (changes.length === 0) return;
      const decide = () => ({
        changes: this.#outstanding(needed, now, isLast).slice(0, maxChangesPerTurn),
        response: undefined,
      });
      await this.#turns.take(decide, { isQuiet: true });
    }
  }

  #outstanding(needed: ReadonlyMap<string, Waiting>, now: Reading, isLast: boolean): Change[] {
    const changes: Change[] = [];
    for (const [work, record] of this.#records) {
      const waiting = needed.get(work);
      const isOver = waiting === undefined || waiting.needs === 'none' || waiting.due.dueAtMs !== record.dueAtMs;
      if (isOver && waiting?.needs !== 'wait') changes.push(removed('upkeepWait', record));
    }
    for (const { due, needs } of needed.values()) {
      if (needs === 'wait' && this.find(due) === undefined) changes.push(this.#put(due, now, { confirmedAtMs: null }));
    }
    const ranMs = this.ranMs(now);
    const unwrittenMs = ranMs - this.#milestone.ranMs;
    const isWaited = this.#records.size > 0 || changes.length > 0;
    if (unwrittenMs >= writtenEveryMs || (unwrittenMs > 0 && (isLast || changes.length > 0))) {
      if (isWaited) changes.unshift(replaced('milestone', this.#milestone, { ranMs }));
    }
    return changes;
  }

  #put(
    { work, dueAtMs }: Pick<DueWork, 'work' | 'dueAtMs'>,
    now: Reading,
    { confirmedAtMs }: Pick<UpkeepWaitRecord, 'confirmedAtMs'>,
  ): Change {
    const record = this.#records.get(work);
    if (record?.dueAtMs === dueAtMs) return replaced('upkeepWait', record, { confirmedAtMs });
    const begun = { dueAtMs, ranMs: this.ranMs(now), confirmedAtMs };
    if (record !== undefined) return replaced('upkeepWait', record, begun);
    return added('upkeepWait', { work, version: 1, ...begun });
  }
}
