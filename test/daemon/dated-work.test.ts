/** Work of which there is too much to look at all of it: how much is looked at, and when it is done. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Reading } from '../../src/daemon/upkeep/clocks.ts';
import { Upkeep } from '../../src/daemon/upkeep/upkeep.ts';
import type { DueWork, UpkeepTask } from '../../src/daemon/upkeep/upkeep-task.ts';
import { Waits } from '../../src/daemon/upkeep/waits.ts';
import { added } from '../../src/store/records/changes.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { examples, formerRegion, testMacs } from '../store/records.ts';
import { SetClocks } from '../support/set-clocks.ts';

const dayMs = 24 * 60 * 60 * 1000;
const nowMs = Date.parse('2026-01-01T00:00:00Z');
const workCount = 50;
const worksAtOnce = 8;
const milestone = { ...examples.milestone, milestone: 'upkeep', ranMs: 0, version: 1 } as const;

let folder: string;
let store: SqliteStore;
let upkeep: Upkeep;
let clocks: SetClocks;
let task: ManyWorks;

/** Works with a date each, as an index has them. */
class ManyWorks implements UpkeepTask {
  readonly kind = 'many';
  readonly dates = new Map<string, number>();
  readonly held = new Set<string>();
  readonly done: string[] = [];
  /** How many a look was given at most. */
  mostAtOnce = 0;
  isBroken = false;
  /** Works that fail. */
  away: (work: string) => boolean = () => false;
  /** When all of them were put on record. */
  seen: Reading | undefined;

  *scheduled(): Iterable<DueWork> {}

  readonly ahead = {
    between: ({ afterMs, untilMs }: { readonly afterMs: number; readonly untilMs: number }, limit: number) => {
      const some = this.#enabled().filter(({ dueAtMs }) => dueAtMs > afterMs && dueAtMs <= untilMs);
      const found = some.sort((one, other) => one.dueAtMs - other.dueAtMs).slice(0, limit);
      this.mostAtOnce = Math.max(this.mostAtOnce, found.length);
      return found;
    },
    count: () => this.#enabled().length,
    find: (work: string): DueWork | undefined => {
      const dueAtMs = this.dates.get(work);
      return dueAtMs === undefined ? undefined : { work, dueAtMs, isHeld: this.held.has(work), seen: this.seen };
    },
  };

  async perform({ work }: DueWork): Promise<void> {
    if (this.isBroken || this.away(work)) throw new Error('the token is away');
    this.dates.delete(work);
    this.done.push(work);
  }

  #enabled(): readonly DueWork[] & DueWork[] {
    return [...this.dates].flatMap(([work, dueAtMs]) =>
      this.held.has(work) ? [] : [{ work, dueAtMs, isHeld: false, seen: this.seen }],
    );
  }
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-dated-work-'));
  store = await openSqliteStore({ path: join(folder, 'metadata.db'), macs: testMacs, formerRegion });
  await store.write([added('milestone', milestone)]);
  task = new ManyWorks();
  clocks = new SetClocks({ wallMs: nowMs, bootMs: 5_000_000 });
  const turns = new Turns(store);
  const waits = new Waits(turns, { upkeepWait: [] }, milestone, clocks.now());
  const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
  upkeep = new Upkeep({ tasks: [task], clocks, turns, waits, log, worksAtOnce });
});

afterEach(async () => {
  await upkeep.stop();
  await store.close();
  rmSync(folder, { recursive: true });
});

function schedule(dueAtMs: number, count = workCount): void {
  for (let number = 0; number < count; number++) task.dates.set(`many ${dueAtMs} ${number}`, dueAtMs + number);
}

async function start(): Promise<void> {
  upkeep.start();
  await clocks.settled();
}

/** As upkeep sees it, which looks each minute at least. */
async function passHours(hours: number): Promise<void> {
  for (let minutes = 0; minutes < hours * 60; minutes++) await clocks.pass(60_000);
}

test('what comes due at one time is done a part at a time, when its time has come by both clocks', async () => {
  schedule(nowMs + 2 * dayMs);
  await start();
  expect([upkeep.report().length, upkeep.later(3).count, upkeep.later(3).first.length]).toEqual([0, workCount, 3]);
  await clocks.pass(1.5 * dayMs);
  expect([upkeep.report().length, upkeep.later(3).count]).toEqual([worksAtOnce, workCount - worksAtOnce]);
  expect(upkeep.later(1).first).toMatchObject([{ work: `many ${nowMs + 2 * dayMs} ${worksAtOnce}` }]);
  await clocks.setWall(3 * 365 * dayMs);
  expect(task.done).toEqual([]);
  await clocks.setWall(-3 * 365 * dayMs);
  await clocks.pass(dayMs / 2 - 1);
  expect(task.done).toEqual([]);
  await clocks.pass(workCount);
  expect(task.done).toHaveLength(workCount);
  expect(task.mostAtOnce).toBe(worksAtOnce);
});

test('what came due over a stop waits for a day, however much it is, and keeps nothing else waiting', async () => {
  schedule(nowMs - dayMs);
  schedule(nowMs + 60_000, 3);
  await start();
  expect(upkeep.report().map(({ state }) => state)).toEqual([
    ...Array.from({ length: worksAtOnce }, () => 'waiting'),
    ...Array.from({ length: 3 }, () => 'scheduled'),
  ]);
  await clocks.pass(120_000);
  expect(task.done).toHaveLength(3);
  await clocks.pass(dayMs - 130_000);
  expect(task.done).toHaveLength(3);
  await clocks.pass(10_000);
  expect(task.done).toHaveLength(3 + workCount);
  expect(task.mostAtOnce).toBe(worksAtOnce);
});

test('what is behind all that is looked at can be confirmed, and stays confirmed until it is done', async () => {
  schedule(nowMs - dayMs);
  await start();
  const last = `many ${nowMs - dayMs} ${workCount - 1}`;
  task.isBroken = true;
  expect(await upkeep.confirm(last)).toMatchObject({ work: last, state: 'due' });
  await clocks.settled();
  task.isBroken = false;
  await clocks.pass(60_000);
  expect(task.done).toEqual([last]);
  await expect(upkeep.confirm(last)).rejects.toMatchObject({ name: 'NotFoundException' });
});

test('what was held at its date for longer than anybody looked at it is done as soon as it is not', async () => {
  schedule(nowMs + dayMs, 1);
  const [work = ''] = task.dates.keys();
  task.held.add(work);
  await start();
  for (let day = 0; day < 40; day++) await clocks.pass(dayMs);
  expect(upkeep.report()).toEqual([]);
  task.held.delete(work);
  await clocks.pass(1000);
  expect(task.done).toEqual([work]);
});

test('what is late, because its HSM is away, keeps no more of the others waiting than is ten times as much as is looked at', async () => {
  schedule(nowMs + dayMs, 3 * worksAtOnce);
  schedule(nowMs + 2 * dayMs, 1);
  task.away = (work) => work.startsWith(`many ${nowMs + dayMs} `);
  await start();
  await clocks.pass(dayMs + 60_000);
  expect(upkeep.report().filter(({ state }) => state === 'late')).toHaveLength(3 * worksAtOnce);
  await clocks.pass(dayMs);
  expect(task.done).toEqual([`many ${nowMs + 2 * dayMs} 0`]);
  schedule(clocks.now().wallMs + dayMs, 30 * worksAtOnce);
  task.away = () => true;
  await clocks.pass(2 * dayMs);
  expect(task.mostAtOnce).toBe(11 * worksAtOnce);
});

test.each([
  ['each with a date of its own', 1],
  ['all with one date', 0],
])(
  'however much is late, %s, what is due of another HSM behind it is done, and all of it once its HSM is back',
  async (_, apartMs) => {
    const count = 40 * worksAtOnce;
    for (let number = 0; number < count; number++)
      task.dates.set(`many away ${number}`, nowMs + dayMs + number * apartMs);
    schedule(nowMs + 2 * dayMs, 3 * worksAtOnce);
    task.away = (work) => work.startsWith('many away ');
    await start();
    await clocks.pass(2 * dayMs);
    await passHours(1);
    expect(task.done).toHaveLength(3 * worksAtOnce);
    schedule(clocks.now().wallMs + 60_000, 3);
    await passHours(3);
    expect(task.done).toHaveLength(3 * worksAtOnce + 3);
    task.away = () => false;
    await passHours(3);
    expect(task.dates.size).toBe(0);
  },
);

test('what came due over a stop behind what is late is done after its day, too', async () => {
  schedule(nowMs - 2 * dayMs, 20 * worksAtOnce);
  schedule(nowMs - dayMs, 2 * worksAtOnce);
  task.away = (work) => work.startsWith(`many ${nowMs - 2 * dayMs} `);
  await start();
  await clocks.pass(dayMs - 1_000);
  expect(task.done).toEqual([]);
  await passHours(2);
  expect(task.done).toHaveLength(2 * worksAtOnce);
});

test('what says since when it is on record is judged by what the clocks said then, and anew where they were put back', async () => {
  task.seen = clocks.now();
  schedule(nowMs + 7 * dayMs, 1);
  await start();
  // Half a day before its date by the wall clock alone: by the other one it is as far away as it was.
  await clocks.setWall(6.5 * dayMs);
  await clocks.pass(dayMs);
  expect(upkeep.report()).toMatchObject([{ state: 'waiting' }]);
  await clocks.pass(6 * dayMs - 1);
  expect(task.done).toEqual([]);
  await clocks.pass(1);
  expect(task.done).toHaveLength(1);
  const yearMs = 365 * dayMs;
  task.seen = { ...clocks.now(), wallMs: clocks.now().wallMs + yearMs };
  schedule(clocks.now().wallMs + 7 * dayMs, 1);
  await clocks.pass(1_000);
  await clocks.setWall(yearMs);
  await clocks.pass(7 * dayMs - 1_001);
  expect(task.done).toHaveLength(1);
  await clocks.pass(1);
  expect(task.done).toHaveLength(2);
});

test('as that is, nothing is done before so much time has passed as was asked for, however the wall clock is set', async () => {
  const step = fc.record({
    setsClock: fc.boolean(),
    ms: fc.oneof(fc.integer({ min: 1, max: 20 * dayMs }), fc.integer({ min: 1, max: 2 * dayMs })),
    isBack: fc.boolean(),
  });
  const windowMs = fc.integer({ min: 7 * dayMs, max: 30 * dayMs });
  await start();
  await fc.assert(
    fc.asyncProperty(windowMs, fc.array(step, { maxLength: 15 }), async (waitMs, steps) => {
      task.done.length = 0;
      task.dates.clear();
      task.seen = clocks.now();
      schedule(clocks.now().wallMs + waitMs, 1);
      let ranMs = 0;
      for (const { setsClock, ms, isBack } of steps) {
        if (setsClock) await clocks.setWall(isBack ? -ms : ms);
        else {
          await clocks.pass(ms);
          ranMs += ms;
        }
        if (task.done.length > 0) expect(ranMs).toBeGreaterThanOrEqual(waitMs);
      }
    }),
    { numRuns: Number(process.env['DRAWBRIDGE_PROPERTY_RUNS'] ?? 100) },
  );
});
