/** The deletion of a key and the audit log: nothing begins that cannot go on record, and nothing ends that did not. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RecordableEvent } from '../../src/audit/audit-log.ts';
import { deletionTask } from '../../src/daemon/upkeep/deletion-task.ts';
import type { UpkeepTask } from '../../src/daemon/upkeep/upkeep-task.ts';
import type { KeyId } from '../../src/kms/names.ts';
import { realm } from '../authorization/policies.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { startService, type TestService } from './kms-service.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: the deletion of a key on record: ${softHsm2.missing}\n`);

describe.skipIf(softHsm2.missing !== null)('The deletion of a key', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-deletion-task-'));
  const clocks = new SetClocks();
  let token: TestToken;
  let service: TestService;
  beforeAll(async () => {
    token = softHsm2.create();
    service = await startService(token, folder, { auditFolder: join(folder, 'audit') });
  });
  afterAll(async () => {
    await service.close();
    token.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  /** An audit log of the test's. */
  interface TestLog {
    obstacle: string | null;
    append: (event: RecordableEvent) => Promise<void>;
  }

  const taskOf = (audit: TestLog, reachedAtMs = 0): UpkeepTask => {
    const { directory, deletion, life } = service;
    return deletionTask({
      ...{ directory, deletion, imports: life.imports, clocks, upkeepSince: { reachedAtMs } },
      // Nothing of this key was ever moved.
      moves: { settle: async () => undefined },
      audit: { append: (event) => audit.append(event) },
      intents: { obstacle: () => audit.obstacle },
    });
  };

  /** What is to be done of a new key, and how. */
  async function due(audit: TestLog) {
    const keyId = await service.newKey();
    await service.run('ScheduleKeyDeletion', { KeyId: keyId, PendingWindowInDays: 7 });
    const task = taskOf(audit);
    const name = `deletion ${realm.region} ${keyId}`;
    const work = task.ahead?.find(name);
    if (work === undefined) throw new Error('its deletion is scheduled');
    const urgent = () => [...task.scheduled()].find((each) => each.work === name)?.isUrgent;
    return { keyId, perform: () => task.perform(work, { leavesMaterial: false }), isUrgent: () => urgent() ?? false };
  }

  const hasMaterial = async (keyId: string): Promise<boolean> =>
    (await service.keyStore.listKeys()).some(({ label }) => label === `drawbridge:${keyId}:1`);

  test('is not begun while the log takes no events', async () => {
    const audit = { obstacle: 'the disk is full', append: async () => undefined };
    const { keyId, perform, isUrgent: hasBegun } = await due(audit);
    await expect(perform()).rejects.toMatchObject({ cause: { message: 'the disk is full' } });
    expect(hasBegun()).toBe(false);
    expect(await hasMaterial(keyId)).toBe(true);
    expect(await service.run('CancelKeyDeletion', { KeyId: keyId })).toMatchObject({ ok: true });
  });

  test('is not ended before its event is there, and is gone on with until it is', async () => {
    const events: RecordableEvent[] = [];
    let isBroken = true;
    const append = async (event: RecordableEvent): Promise<void> => {
      if (isBroken) throw new Error('the disk broke');
      events.push(event);
    };
    const { keyId, perform, isUrgent: hasBegun } = await due({ obstacle: null, append });
    await expect(perform()).rejects.toThrow('the disk broke');
    expect(await hasMaterial(keyId)).toBe(false);
    expect(hasBegun()).toBe(true);
    expect(await service.run('DescribeKey', { KeyId: keyId })).toMatchObject({ ok: true });
    isBroken = false;
    await perform();
    expect(events).toMatchObject([{ eventName: 'DeleteKey', serviceEventDetails: { keyId } }]);
    expect(await service.run('DescribeKey', { KeyId: keyId })).toMatchObject({ error: { name: 'NotFoundException' } });
    await perform();
    expect(events).toHaveLength(1);
  });

  test('that was cancelled, or put off, when its turn comes is not performed, and that is no failure', async () => {
    const append = () => Promise.reject(new Error('there is nothing to record'));
    const { keyId, perform } = await due({ obstacle: null, append });
    await service.run('CancelKeyDeletion', { KeyId: keyId });
    await perform();
    await service.run('ScheduleKeyDeletion', { KeyId: keyId, PendingWindowInDays: 8 });
    await perform();
    expect(await hasMaterial(keyId)).toBe(true);
  });

  test('of many that are to come is looked at as many as are asked for; what a former version let pass has a week of grace', async () => {
    const keyIds: string[] = [];
    for (const PendingWindowInDays of [9, 7, 8]) {
      const KeyId = await service.newKey();
      await service.run('ScheduleKeyDeletion', { KeyId, PendingWindowInDays });
      keyIds.push(KeyId);
    }
    const dateOf = (at: number): number => service.deletion.dates.of(keyIds[at] as KeyId)?.dateMs ?? 0;
    const [first, second, third] = [1, 2, 0].map((at) => ({ keyId: keyIds[at], dueAtMs: dateOf(at) }));
    const found = (reachedAtMs: number, limit: number, untilMs = Number.MAX_SAFE_INTEGER) => {
      const task = taskOf({ obstacle: null, append: async () => undefined }, reachedAtMs);
      expect([...task.scheduled()]).toEqual([]);
      const works = task.ahead?.between({ afterMs: 0, untilMs }, limit) ?? [];
      const ours = works.filter(({ work }) => keyIds.some((keyId) => work.endsWith(keyId)));
      return ours.map(({ work, dueAtMs }) => ({ keyId: work.split(' ').at(-1), dueAtMs }));
    };
    const others = service.deletion.dates.count() - keyIds.length;
    expect(found(0, others + 2)).toEqual([first, second]);
    expect(found(0, 10, dateOf(2))).toEqual([first, second]);
    const endsMs = dateOf(2) + 7 * 24 * 60 * 60 * 1000;
    expect(found(dateOf(2), 10)).toEqual([second, third, { ...first, dueAtMs: endsMs }]);
    expect(found(dateOf(2), 10, endsMs - 1)).toEqual([second, third]);
  });
});
