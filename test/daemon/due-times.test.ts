/** When something is due, by two clocks: the rule as a table. */

import { expect, test } from 'vitest';
import { isOutdated, judge, pauseMs, sightOf, waitAfterStopMs } from '../../src/daemon/upkeep/due-times.ts';

const hour = 60 * 60 * 1000;
const day = 24 * hour;
const year = 365 * day;
/** When the wall clock was right, and what the boot-time clock said then. */
const wall = Date.UTC(2026, 0, 1);
const boot = 5 * hour;
const at = (wallMs: number, bootMs: number) => ({ wallMs: wall + wallMs, bootMs: boot + bootMs });

interface Row {
  readonly name: string;
  /** From when it was first seen. */
  readonly dueIn: number;
  /** By both clocks, since then. */
  readonly wall: number;
  readonly boot: number;
  /** Running time since the wait began; `undefined`: none has. */
  readonly waited?: number;
  readonly isConfirmed?: true;
  readonly is: ReturnType<typeof judge>['is'];
  readonly leftMs?: number;
}

const rows: readonly Row[] = [
  { name: 'before its date', dueIn: 7 * day, wall: 7 * day - 1, boot: 7 * day - 1, is: 'scheduled' },
  { name: 'when both clocks say so', dueIn: 7 * day, wall: 7 * day, boot: 7 * day, is: 'due' },
  { name: 'long after', dueIn: 7 * day, wall: 70 * day, boot: 70 * day, is: 'due' },
  { name: 'the wall clock set forward', dueIn: 7 * day, wall: 10 * year, boot: day, is: 'doubtful', leftMs: 6 * day },
  { name: 'set forward, when its time has passed', dueIn: 7 * day, wall: 10 * year, boot: 7 * day, is: 'due' },
  { name: 'the wall clock set back', dueIn: 7 * day, wall: -10 * year, boot: 8 * day, is: 'scheduled' },
  { name: 'set back and right again', dueIn: 7 * day, wall: 8 * day, boot: 8 * day, is: 'due' },
  {
    name: 'a machine that started anew',
    dueIn: 7 * day,
    wall: 8 * day,
    boot: -boot,
    is: 'doubtful',
    leftMs: 7 * day + boot,
  },
  { name: 'over a stop', dueIn: -1, wall: 0, boot: 0, is: 'waiting', leftMs: day },
  { name: 'over a stop, at that very moment', dueIn: 0, wall: 0, boot: 0, is: 'waiting', leftMs: day },
  {
    name: 'over a stop, later',
    dueIn: -year,
    wall: 23 * hour,
    boot: 23 * hour,
    waited: 23 * hour,
    is: 'waiting',
    leftMs: hour,
  },
  { name: 'over a stop, a day later', dueIn: -year, wall: day, boot: day, waited: day, is: 'due' },
  { name: 'over two stops', dueIn: -year, wall: 0, boot: 0, waited: day, is: 'due' },
  {
    name: 'over a stop, the wall clock set forward',
    dueIn: -1,
    wall: year,
    boot: 1,
    waited: 1,
    is: 'waiting',
    leftMs: day - 1,
  },
  {
    name: 'over a stop, the wall clock set back',
    dueIn: -1,
    wall: -2,
    boot: 2 * day,
    waited: 2 * day,
    is: 'scheduled',
  },
  { name: 'confirmed over a stop', dueIn: -1, wall: 0, boot: 0, waited: 0, isConfirmed: true, is: 'due' },
  {
    name: 'confirmed against the boot-time clock',
    dueIn: 7 * day,
    wall: 8 * day,
    boot: 0,
    waited: 0,
    isConfirmed: true,
    is: 'due',
  },
  {
    name: 'confirmed, and the wall clock set back',
    dueIn: -1,
    wall: -2,
    boot: 0,
    waited: 0,
    isConfirmed: true,
    is: 'scheduled',
  },
];

test.each(rows)('$name: $is', ({ dueIn, wall: wallMs, boot: bootMs, waited, isConfirmed = false, is, leftMs }) => {
  const sight = sightOf(wall + dueIn, at(0, 0));
  const ran = 1_000 * day;
  const wait = waited === undefined ? undefined : { ranMs: ran - waited, isConfirmed };
  expect(judge(sight, at(wallMs, bootMs), ran, wait)).toEqual({ is, ...(leftMs === undefined ? {} : { leftMs }) });
});

test('what came due over a stop waits for a day of running time', () => {
  expect(waitAfterStopMs).toBe(day);
});

test('what was due when it was first seen is seen anew when the wall clock says that it is not', () => {
  expect(isOutdated(sightOf(wall - 1, at(0, 0)), at(-1, 0))).toBe(false);
  expect(isOutdated(sightOf(wall - 1, at(0, 0)), at(-2, 0))).toBe(true);
  expect(isOutdated(sightOf(wall + 1, at(0, 0)), at(-2, 0))).toBe(false);
});

test('what fails is tried again after ten seconds, then after twice as long each time, and at least every hour', () => {
  expect([1, 2, 3, 9, 10, 1_000].map(pauseMs)).toEqual([10_000, 20_000, 40_000, 2_560_000, hour, hour]);
});
