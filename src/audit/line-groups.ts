/**
 * Lines that wait to be written, as the bytes that the file gets: grouped in memory from which each group goes out as one write.
 *
 * A line is encoded once, where it is written from. While one group is being written the next one collects, so that two pieces of
 * memory serve an ordinary log for good. What waits while a disk hangs has more, which is not kept.
 */

import { maxLinkBytes } from './chain.ts';

export interface LineGroup<Line> {
  readonly memory: Buffer;
  /** Of the memory, by the lines so far. */
  usedBytes: number;
  readonly lines: Line[];
}

/** Of some hundred ordinary lines; a sync or a failure concerns so much of the log, or one line that is longer. */
const groupBytes = 128 * 1024;
/** The one that is being written and the one that collects: where no line came in between, both are free. */
const maxSpares = 2;
/** What a unit of UTF-16 takes in UTF-8 at most. */
const maxBytesPerUnit = 3;

export class LineGroups<Line> {
  /** In the order in which they are written; lines are added to the last one. */
  #groups: LineGroup<Line>[] = [];
  /** Memory that nothing is in. */
  readonly #spares: Buffer[] = [];

  get isEmpty(): boolean {
    return this.#groups.length === 0;
  }

  /** Where a line with this event is written: behind `usedBytes`. It counts once it is added. */
  groupFor(event: string): LineGroup<Line> {
    const last = this.#groups.at(-1);
    if (last !== undefined && hasRoomFor(event, last)) return last;
    const spare = this.#spares.at(-1);
    const neededBytes = event.length * maxBytesPerUnit + maxLinkBytes;
    if (spare !== undefined && neededBytes <= spare.length) return { memory: spare, usedBytes: 0, lines: [] };
    return { memory: Buffer.allocUnsafeSlow(Math.max(groupBytes, neededBytes)), usedBytes: 0, lines: [] };
  }

  /** The line that was written behind `usedBytes` is one of the group. */
  add(group: LineGroup<Line>, line: Line, end: number): void {
    if (group.lines.length === 0) {
      this.#groups.push(group);
      if (group.memory === this.#spares.at(-1)) this.#spares.pop();
    }
    group.lines.push(line);
    group.usedBytes = end;
  }

  /** The first group, to which nothing is added any more. */
  take(): LineGroup<Line> | undefined {
    return this.#groups.shift();
  }

  /** Nothing is in this group's memory any more. */
  giveBack({ memory }: LineGroup<Line>): void {
    if (memory.length === groupBytes && this.#spares.length < maxSpares) this.#spares.push(memory);
  }

  /** Takes out all lines. */
  drain(): readonly Line[] {
    const groups = this.#groups;
    this.#groups = [];
    return groups.flatMap(({ lines }) => lines);
  }
}

/** Counts only where it may not fit. */
function hasRoomFor(event: string, { memory, usedBytes }: LineGroup<unknown>): boolean {
  const roomBytes = memory.length - usedBytes - maxLinkBytes;
  return event.length * maxBytesPerUnit <= roomBytes || Buffer.byteLength(event) <= roomBytes;
}
