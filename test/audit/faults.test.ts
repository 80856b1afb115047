import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Durability } from '../../src/audit/audit-log.ts';
import { auditLogPath, openAuditLog } from '../../src/audit/open-audit-log.ts';
import { readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { createSmallDisk, smallDiskMissing } from '../support/small-disk.ts';
import { temporaryFolder } from './events.ts';
import { exampleEvent } from './example-event.ts';

const region = 'us-east-1';

async function recordedRequests(folder: string): Promise<ReadonlySet<unknown>> {
  const requests = new Set<unknown>();
  for await (const event of readAuditEvents(folder)) requests.add(event['requestID']);
  return requests;
}

describe('a daemon that is killed while it appends', () => {
  test.each<Durability>(['written', 'synced'])(
    'has every acknowledged event on record when it starts again, in one chain (%s)',
    { timeout: 120_000 },
    async (durability) => {
      const folder = temporaryFolder();
      const acknowledged: number[] = [];
      for (const killAfter of [1, 100, 1_500]) {
        acknowledged.push(...(await appendUntilKilled(folder, durability, killAfter)));
        const log = await openAuditLog({ folder, sync: 'default', region });
        await log.close();
        expect(await verifyAuditLog(folder)).toMatchObject({ ok: true });
        const requests = await recordedRequests(folder);
        expect(acknowledged.filter((number) => !requests.has(exampleEvent(number).requestId))).toEqual([]);
      }
    },
  );
});

async function appendUntilKilled(
  folder: string,
  durability: Durability,
  killAfter: number,
): Promise<readonly number[]> {
  const child = spawn(
    process.execPath,
    [new URL('./log-child.ts', import.meta.url).pathname, 'append', folder, durability],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  onTestFinished(() => void child.kill('SIGKILL'));
  const exited = once(child, 'exit');
  const acknowledged: number[] = [];
  for await (const line of createInterface(child.stdout)) {
    acknowledged.push(Number(line));
    if (acknowledged.length === killAfter) child.kill('SIGKILL');
  }
  expect(await exited).toEqual([null, 'SIGKILL']);
  return acknowledged;
}

describe.skipIf(smallDiskMissing !== null)('a disk that is full', () => {
  /** Leaves so many bytes free, by a file beside the log. */
  function fillUpTo(folder: string, freeBytes: number): void {
    const ballast = join(folder, 'ballast');
    rmSync(ballast, { force: true });
    const { bavail, bsize } = statfsSync(folder);
    writeFileSync(ballast, Buffer.alloc(Math.max(0, Number(bavail) * Number(bsize) - freeBytes)));
  }

  test('fails the events that it cannot take, by name, and none that it took; then goes on in the same chain', async () => {
    const disk = createSmallDisk(256 * 1024);
    onTestFinished(() => disk.remove());
    const { folder } = disk;
    const log = await openAuditLog({ folder, sync: 'default', region });
    await log.append(exampleEvent(0), 'synced');
    const acknowledged = [0];
    let refusals = 0;
    for (let round = 1; round <= 12; round++) {
      // One page more each time, so that lines are cut at ever other places.
      fillUpTo(folder, (round % 3) * 4096);
      const numbers = Array.from({ length: 40 }, (_, index) => round * 1_000 + index);
      const results = await Promise.allSettled(
        numbers.map((number) => log.append(exampleEvent(number), number % 5 === 0 ? 'synced' : 'written')),
      );
      for (const [index, result] of results.entries()) {
        if (result.status === 'fulfilled') acknowledged.push(numbers[index] ?? 0);
        else {
          refusals++;
          expect(result.reason).toMatchObject({
            name: 'AuditError',
            failure: 'notWritten',
            message: `cannot write the audit log \`${auditLogPath(folder)}\`: ENOSPC: no space left on device, write; no answer leaves until it works again`,
          });
        }
      }
      if (round % 4 === 0) {
        rmSync(join(folder, 'ballast'));
        await log.append(exampleEvent(round), 'synced');
        acknowledged.push(round);
        expect(log.head()).toEqual((await verifyAuditLog(folder)).head);
      }
    }
    expect(refusals).toBeGreaterThan(0);
    await log.close();
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true });
    const requests = await recordedRequests(folder);
    expect(acknowledged.filter((number) => !requests.has(exampleEvent(number).requestId))).toEqual([]);
  });

  test('cuts lines at any byte, and the log stays one chain with every acknowledged event in it', {
    timeout: 120_000,
  }, async () => {
    const disk = createSmallDisk(4 * 1024 * 1024);
    onTestFinished(() => disk.remove());
    let number = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({ events: fc.integer({ min: 1, max: 12 }), padding: fc.nat({ max: 4_096 }), full: fc.boolean() }),
          {
            minLength: 2,
            maxLength: 8,
          },
        ),
        async (steps) => {
          const folder = join(disk.folder, `log-${++number}`);
          let log = await openAuditLog({ folder, sync: 'default', region });
          const acknowledged: number[] = [];
          for (const { events, padding, full } of steps) {
            // The last page that is free is not used up by the line before: what fits of the next ones is cut there.
            if (full) fillUpTo(folder, 0);
            const numbers = Array.from({ length: events }, () => ++number);
            const parameters = { padding: 'x'.repeat(padding) };
            const results = await Promise.allSettled(
              numbers.map((id) => log.append({ ...exampleEvent(id), requestParameters: parameters }, 'written')),
            );
            for (const [index, { status }] of results.entries()) {
              if (status === 'fulfilled') acknowledged.push(numbers[index] ?? 0);
            }
            rmSync(join(folder, 'ballast'), { force: true });
            if (events % 3 === 0) {
              // As after a crash: what is torn now is found by the next one who opens it.
              await log.close();
              log = await openAuditLog({ folder, sync: 'default', region });
            }
          }
          await log.append(exampleEvent(++number), 'synced');
          await log.close();
          expect(await verifyAuditLog(folder)).toMatchObject({ ok: true });
          const requests = await recordedRequests(folder);
          expect(acknowledged.filter((id) => !requests.has(exampleEvent(id).requestId))).toEqual([]);
          expect(statSync(auditLogPath(folder)).size).toBeGreaterThan(0);
          rmSync(folder, { recursive: true });
        },
      ),
      { numRuns: 60 },
    );
  });
});
