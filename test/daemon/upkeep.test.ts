/** The loop of upkeep, with clocks that are set and machines that are stopped: laws, and how it treats tasks that fail. */

import { setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { reachMilestone } from '../../src/daemon/milestones.ts';
import { Upkeep } from '../../src/daemon/upkeep/upkeep.ts';
import type { DueWork } from '../../src/daemon/upkeep/upkeep-task.ts';
import { Waits } from '../../src/daemon/upkeep/waits.ts';
import { added, type Change } from '../../src/store/records/changes.ts';
import type { MilestoneRecord, UpkeepWaitRecord } from '../../src/store/records/records.ts';
import { Turns } from '../../src/store/turns.ts';
import { examples } from '../store/records.ts';
import { SetClocks } from '../support/set-clocks.ts';

const hour = 60 * 60 * 1000;
const day = 24 * hour;
const year = 365 * day;

/** An instance with one task, whose records outlive its processes. */
class Machine {
  readonly clocks = new SetClocks({ wallMs: Date.UTC(2026, 0, 1), bootMs: hour });
  readonly #waits = new Map<string, UpkeepWaitRecord>();
  milestone: MilestoneRecord | undefined;
  /** What the task has scheduled, and how it answers. */
  scheduled: readonly DueWork[] = [];
  readonly performed: DueWork[] = [];
  obstacle: string | undefined;
  beforeEach: () => Promise<void> = async () => undefined;
  readonly warnings: object[] = [];
  readonly errors: object[] = [];
  upkeep!: Upkeep;
  turns!: Turns;

  async start(): Promise<void> {
    const turns = new Turns({
      write: async (changes: readonly Change[]) => this.#write(changes),
      reread: () => Promise.reject(new Error('there is one writer')),
    });
    const milestone = this.milestone === undefined ? [] : [this.milestone];
    const since = await reachMilestone('upkeep', turns, { milestone }, this.clocks.now().wallMs);
    const waits = new Waits(turns, { upkeepWait: [...this.#waits.values()] }, since, this.clocks.now());
    const log = {
      ...{ debug() {}, info() {} },
      warn: (fields: object) => void this.warnings.push(fields),
      error: (fields: object) => void this.errors.push(fields),
    };
    const task = {
      kind: 'test',
      scheduled: () => this.scheduled,
      perform: async (work: DueWork) => {
        await this.beforeEach();
        if (this.obstacle !== undefined) throw new Error(this.obstacle);
        this.performed.push(work);
        this.scheduled = this.scheduled.filter((each) => each.work !== work.work);
      },
    };
    this.turns = turns;
    this.upkeep = new Upkeep({ tasks: [task], clocks: this.clocks, turns, waits, log });
    this.upkeep.start();
    await this.clocks.settled();
  }

  /** A request that changes a record, as which the work came. */
  async schedule(work: string, inMs: number, isHeld = false): Promise<void> {
    const due = { work, dueAtMs: this.clocks.now().wallMs + inMs, isHeld };
    this.scheduled = [...this.scheduled.filter((each) => each.work !== work), due];
    await this.#changed();
  }

  /** A request that changes a record, after which the work is not held any more. */
  async release(work: string): Promise<void> {
    this.scheduled = this.scheduled.map((each) => (each.work === work ? { ...each, isHeld: false } : each));
    await this.#changed();
  }

  async #changed(): Promise<void> {
    await this.turns.take(() => ({ changes: [added('key', examples.key)], response: undefined }));
    await this.clocks.settled();
  }

  waits(): readonly UpkeepWaitRecord[] {
    return [...this.#waits.values()];
  }

  #write(changes: readonly Change[]): void {
    for (const change of changes) {
      if ('put' in change && change.put === 'upkeepWait') this.#waits.set(change.record.work, change.record);
      if ('put' in change && change.put === 'milestone') this.milestone = change.record;
      if ('remove' in change && change.remove === 'upkeepWait') this.#waits.delete(change.record.work);
    }
  }
}

type Step =
  | { readonly kind: 'run'; readonly ms: number }
  | { readonly kind: 'setWall'; readonly ms: number }
  /** The machine is off for a while, and somebody may set its clock meanwhile. */
  | { readonly kind: 'stop'; readonly ms: number; readonly wallMs: number; readonly reboots: boolean };

const jump = fc.oneof(fc.integer({ min: -10 * year, max: 10 * year }), fc.integer({ min: -2 * day, max: 2 * day }));
const run = fc
  .oneof(fc.integer({ min: 1, max: 40 * day }), fc.integer({ min: 1, max: 3 * hour }))
  .map((ms): Step => ({ kind: 'run', ms }));
const setWall = jump.map((ms): Step => ({ kind: 'setWall', ms }));
const stop = fc
  .record({ ms: fc.integer({ min: 0, max: 2 * year }), wallMs: fc.option(jump, { nil: 0 }), reboots: fc.boolean() })
  .map((members): Step => ({ kind: 'stop', ...members }));
const windowMs = fc.integer({ min: 7 * day, max: 2 * year });

async function take(machine: Machine, step: Step): Promise<void> {
  if (step.kind === 'run') return machine.clocks.pass(step.ms);
  if (step.kind === 'setWall') return machine.clocks.setWall(step.ms);
  await machine.upkeep.stop();
  const { bootMs } = machine.clocks.now();
  machine.clocks.jump({ wallMs: step.ms + step.wallMs, bootMs: step.reboots ? 1_000 - bootMs : step.ms });
  await machine.start();
}

const numRuns = Number(process.env['DRAWBRIDGE_PROPERTY_RUNS'] ?? 150);

describe('Upkeep', () => {
  test('while it runs does nothing before so much time has passed as was asked for, however the wall clock is set', async () => {
    await fc.assert(
      fc.asyncProperty(windowMs, fc.array(fc.oneof(run, setWall), { maxLength: 25 }), async (waitMs, steps) => {
        const machine = new Machine();
        await machine.start();
        await machine.schedule('test', waitMs);
        let ranMs = 0;
        for (const step of steps) {
          await take(machine, step);
          if (step.kind === 'run') ranMs += step.ms;
          if (machine.performed.length > 0) expect(ranMs).toBeGreaterThanOrEqual(waitMs);
        }
      }),
      { numRuns },
    );
  });

  test('over stops does nothing before it ran for as long as was left at its start, or for a day that the date had come', async () => {
    await fc.assert(
      fc.asyncProperty(windowMs, fc.array(fc.oneof(run, setWall, stop), { maxLength: 25 }), async (waitMs, steps) => {
        const machine = new Machine();
        await machine.start();
        await machine.schedule('test', waitMs);
        const dueAtMs = machine.scheduled[0]?.dueAtMs ?? 0;
        /** Running time since each moment of this run in which the date had not come, and what was left then. */
        let moments = [{ ranMs: 0, leftMs: waitMs }];
        /** Running time, over stops, since the date had not come. */
        let sinceMs = 0;
        for (const step of steps) {
          const before = machine.clocks.now().wallMs;
          await take(machine, step);
          const ranMs = step.kind === 'run' ? step.ms : 0;
          if (step.kind === 'stop') moments = [];
          moments = moments.map((moment) => ({ ...moment, ranMs: moment.ranMs + ranMs }));
          sinceMs = before < dueAtMs ? ranMs : sinceMs + ranMs;
          const { wallMs } = machine.clocks.now();
          if (machine.performed.length > 0) {
            expect(wallMs).toBeGreaterThanOrEqual(dueAtMs);
            const isTime = moments.some((moment) => moment.ranMs >= moment.leftMs) || sinceMs >= day;
            expect(isTime).toBe(true);
            return;
          }
          if (wallMs < dueAtMs) moments.push({ ranMs: 0, leftMs: dueAtMs - wallMs });
        }
      }),
      { numRuns },
    );
  });

  test('loses nothing: with the clock right again, it is done a day after the next start at the latest', async () => {
    await fc.assert(
      fc.asyncProperty(windowMs, fc.array(fc.oneof(run, setWall, stop), { maxLength: 15 }), async (waitMs, steps) => {
        const machine = new Machine();
        await machine.start();
        await machine.schedule('test', waitMs);
        for (const step of steps) await take(machine, step);
        if (machine.performed.length === 0) {
          const dueAtMs = machine.scheduled[0]?.dueAtMs ?? 0;
          const rightMs = dueAtMs + day - machine.clocks.now().wallMs;
          await take(machine, { kind: 'stop', ms: 0, wallMs: rightMs, reboots: true });
          // With restarts every few hours: they do not put it off.
          for (let times = 0; times < 5; times++) {
            await take(machine, { kind: 'run', ms: 5 * hour });
            await take(machine, { kind: 'stop', ms: hour, wallMs: 0, reboots: times % 2 === 0 });
          }
        }
        expect(machine.performed).toHaveLength(1);
        expect(machine.waits()).toEqual([]);
      }),
      { numRuns },
    );
  });

  test('has what came due over a stop wait, and forgets that when it was put off', async () => {
    const machine = new Machine();
    await machine.start();
    await machine.schedule('test', day);
    await take(machine, { kind: 'stop', ms: 2 * day, wallMs: 0, reboots: false });
    expect(machine.upkeep.report()).toMatchObject([{ work: 'test', state: 'waiting', leftMs: day }]);
    expect(machine.waits()).toMatchObject([{ work: 'test', confirmedAtMs: null }]);
    await machine.schedule('test', 3 * hour);
    expect(machine.upkeep.report()).toMatchObject([{ work: 'test', state: 'scheduled' }]);
    expect(machine.waits()).toEqual([]);
    await machine.clocks.pass(3 * hour);
    expect(machine.performed).toHaveLength(1);
  });

  test('takes an operator at his word, at once and after a restart, and not before the date', async () => {
    const machine = new Machine();
    await machine.start();
    await machine.schedule('test', day);
    await expect(machine.upkeep.confirm('test')).rejects.toMatchObject({ name: 'ValidationException' });
    await expect(machine.upkeep.confirm('other')).rejects.toMatchObject({ name: 'NotFoundException' });
    await take(machine, { kind: 'stop', ms: 2 * day, wallMs: 0, reboots: true });
    machine.obstacle = 'the HSM is away';
    // What there is of it is not left anywhere, unlike a key's material.
    const leaving = machine.upkeep.confirm('test', undefined, { leavesMaterial: true });
    await expect(leaving).rejects.toMatchObject({ name: 'ValidationException' });
    await machine.upkeep.confirm('test');
    await machine.clocks.settled();
    expect(machine.upkeep.report()).toMatchObject([{ state: 'late', because: 'the HSM is away' }]);
    await take(machine, { kind: 'stop', ms: 1, wallMs: 0, reboots: true });
    expect(machine.upkeep.report()).toMatchObject([{ state: 'late' }]);
    machine.obstacle = undefined;
    await machine.upkeep.confirm('test');
    await machine.clocks.settled();
    expect(machine.performed).toHaveLength(1);
    expect(machine.waits()).toEqual([]);
  });

  test('does what the boot-time clock does not believe when an operator confirms it', async () => {
    const machine = new Machine();
    await machine.start();
    await machine.schedule('test', 30 * day);
    await machine.clocks.setWall(10 * year);
    expect(machine.upkeep.report()).toMatchObject([{ state: 'waiting', leftMs: 30 * day }]);
    await machine.upkeep.confirm('test');
    await machine.clocks.settled();
    expect(machine.performed).toHaveLength(1);
  });

  test('tries again what fails after a pause that doubles, and logs a reason once', async () => {
    const machine = new Machine();
    await machine.start();
    await machine.schedule('test', day);
    machine.obstacle = 'the HSM is away';
    await machine.clocks.pass(day);
    expect(machine.upkeep.report()).toMatchObject([{ state: 'late', because: 'the HSM is away', leftMs: 10_000 }]);
    await machine.clocks.pass(10_000);
    expect(machine.upkeep.report()).toMatchObject([{ state: 'late', leftMs: 20_000 }]);
    expect(machine.warnings).toMatchObject([{ work: 'test', reason: 'the HSM is away' }]);
    machine.obstacle = 'the HSM is full';
    await machine.clocks.pass(20_000);
    expect(machine.warnings).toHaveLength(2);
    machine.obstacle = undefined;
    await machine.clocks.pass(39_999);
    expect(machine.performed).toHaveLength(0);
    await machine.clocks.pass(1);
    expect(machine.performed).toHaveLength(1);
    expect(machine.upkeep.report()).toEqual([]);
  });

  test('does at once, whatever the clocks say, what was begun before', async () => {
    const machine = new Machine();
    machine.scheduled = [{ work: 'test', dueAtMs: machine.clocks.now().wallMs + year, isUrgent: true }];
    await machine.start();
    expect(machine.performed).toHaveLength(1);
  });

  test('does not do what is held, nor tells of it, and does it at once when it is released after its time', async () => {
    const machine = new Machine();
    await machine.start();
    await machine.schedule('test', 30 * day, true);
    await machine.clocks.pass(40 * day);
    expect([machine.performed, machine.upkeep.report()]).toEqual([[], []]);
    await expect(machine.upkeep.confirm('test')).rejects.toMatchObject({ name: 'NotFoundException' });
    await machine.release('test');
    expect(machine.performed).toHaveLength(1);

    await machine.schedule('test', 30 * day, true);
    await machine.clocks.setWall(40 * day);
    await machine.release('test');
    expect(machine.upkeep.report()).toMatchObject([{ state: 'waiting', leftMs: 30 * day }]);
    await machine.clocks.pass(30 * day);
    expect(machine.performed).toHaveLength(2);
  });

  test('sees anew what a wrong clock called due at its start, when the clock is set right', async () => {
    const machine = new Machine();
    await machine.start();
    await machine.schedule('test', 300 * day);
    await take(machine, { kind: 'stop', ms: 0, wallMs: year, reboots: true });
    expect(machine.upkeep.report()).toMatchObject([{ state: 'waiting', leftMs: day }]);
    await machine.clocks.setWall(-year);
    expect(machine.waits()).toEqual([]);
    await machine.clocks.setWall(year);
    await machine.clocks.pass(2 * day);
    expect(machine.upkeep.report()).toMatchObject([{ state: 'waiting', leftMs: 298 * day }]);
    expect(machine.performed).toHaveLength(0);
  });

  test('counts from its first start, and from the next one where the clock was ahead at the first', async () => {
    const machine = new Machine();
    machine.clocks.jump({ wallMs: 10 * year });
    await machine.start();
    await take(machine, { kind: 'stop', ms: 0, wallMs: -10 * year, reboots: true });
    const reachedAtMs = machine.clocks.now().wallMs;
    expect(machine.milestone).toMatchObject({ milestone: 'upkeep', reachedAtMs });
    await take(machine, { kind: 'stop', ms: day, wallMs: 0, reboots: true });
    expect(machine.milestone).toMatchObject({ milestone: 'upkeep', reachedAtMs });
  });

  test('looks again at what it could not look at', async () => {
    const machine = new Machine();
    await machine.start();
    const scheduled = [{ work: 'test', dueAtMs: machine.clocks.now().wallMs + day }];
    Object.defineProperty(machine, 'scheduled', {
      configurable: true,
      get: () => {
        throw new Error('the records cannot be read');
      },
    });
    await machine.turns.take(() => ({ changes: [added('key', examples.key)], response: undefined }));
    await machine.clocks.settled();
    expect(machine.errors).toMatchObject([{ reason: 'the records cannot be read' }]);
    Object.defineProperty(machine, 'scheduled', { value: scheduled, writable: true });
    // By itself: who asks for a report has it look, too.
    await machine.clocks.settled();
    await machine.clocks.pass(day);
    expect(machine.performed).toHaveLength(1);
  });

  test('ends with the work in progress, and begins no other', async () => {
    const machine = new Machine();
    const now = machine.clocks.now().wallMs;
    machine.scheduled = ['one', 'other'].map((work) => ({ work, dueAtMs: now, isUrgent: true }));
    const begun = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    machine.beforeEach = () => {
      begun.resolve();
      return released.promise;
    };
    // It never sleeps again, which `start` would wait for.
    void machine.start();
    await begun.promise;
    const stopped = machine.upkeep.stop();
    expect(await Promise.race([stopped, setTimeout(50, 'in progress')])).toBe('in progress');
    released.resolve();
    await stopped;
    expect(machine.performed.map(({ work }) => work)).toEqual(['one']);
  });
});
