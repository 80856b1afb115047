/**
 * What upkeep does of its own accord, as tasks: each knows from the records what is to come, and does it when the loop
 * (`upkeep.ts`) says that its time has come.
 *
 * A task keeps no times and no list of its own. What is to come follows from what the records say now, so that a restart, a
 * crash or another node changes nothing about it.
 */

import type { Reading } from './clocks.ts';

/** Something that is to be done at a time that stands in a record. */
export interface DueWork {
  /** Stable, and like no other's: `deletion us-east-1 1234abcd-12ab-34cd-56ef-1234567890ab`. Operators confirm it by this name. */
  readonly work: string;
  /** By the wall clock. Where it changes, what was waited for before counts no more. */
  readonly dueAtMs: number;
  /**
   * Of what is found by its date: what the clocks said when that was put on record, or loaded. Absent: it is as if it had been seen
   * when it came within a day of its date.
   */
  readonly seen?: Reading | undefined;
  /** No clock has a say: it was begun before, or is due for another reason than a time. */
  readonly isUrgent?: boolean;
  /** Its time is watched, and it is not done yet, whatever the time: what it is about has to be in use again first. */
  readonly isHeld?: boolean;
}

/** What of a task is too much to be looked at as a whole: it is found by its dates, so much of it at a time. */
export interface WorkAhead {
  /** What is due after a time and by another one, soonest first; not what is held. `scheduled` names none of it. */
  between(range: { readonly afterMs: number; readonly untilMs: number }, limit: number): readonly DueWork[];
  /** How much there is, whenever it is due; not what is held. */
  count(): number;
  /** The one of this name, whenever it is due. */
  find(work: string): DueWork | undefined;
}

/** What an operator has said about a piece of work, beside that it is to be done now. */
export interface OperatorsWord {
  /** It is to be done although there are HSMs that cannot be reached: what is in these stays there, and belongs to no key any more. */
  readonly leavesMaterial: boolean;
}

export interface UpkeepTask {
  /** `deletion`, `rotation`, `expiry`, …; the first word of what it calls its works. */
  readonly kind: string;
  /** What is to come, by what the records say now. Called at start and after changes, at most about once a second. */
  scheduled(): Iterable<DueWork>;
  /** Absent: `scheduled` names all. */
  readonly ahead?: WorkAhead | undefined;
  /**
   * Does it; idempotent. Takes its own turn and asks the record again: what was cancelled or put off meanwhile is not done, and
   * that is no failure. Throws what is in the way: then it is late, `status` says why, and it is tried again.
   * @returns `unfinished`: a part of it is done; the next one is due in a second, after everything else that is.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: a task that does all of it returns nothing.
  perform(work: DueWork, word: OperatorsWord): Promise<void | 'unfinished'>;
  /** Does it go by `OperatorsWord.leavesMaterial`? */
  readonly canLeaveMaterial?: true;
}
