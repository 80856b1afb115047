import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
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

async function recordedRequests(folder: string): Promise<ReadonlySet<unknown>> {
  const requests = new Set<unknown>();
  for await (const event of readAuditEvents(folder)) requests.add(event['requestID']);
  return requests;
}

describe('a daemon that is killed while it appends', () => {
  test.each<Durability>(['written', 'synced'])(
    'has every acknowledged event on record when it starts again, in one chain (%s)',
    { timeout: 170_000 },
    async (durability) => {
      const folder = temporaryFolder();
      const acknowledged: number[] = [];
      for (const killAfter of [1, 100, 1_500]) {
        acknowledged.push(...(await appendUntilKilled(folder, durability, killAfter)));
        const log = await openAuditLog({ folder, sync: 'default' });
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
    const log = await openAuditLog({ folder, sync: 'default' });
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
});

/** Why the size of this process's files cannot be limited here, or `null`. */
const fileLimitMissing = (() => {
  try {
    limitFileSize('unlimited');
    return null;
  } catch {
    return 'no prlimit';
  }
})();
if (fileLimitMissing !== null) process.stderr.write(`skipped: lines cut at any byte: ${fileLimitMissing}\n`);

/** The kernel takes a write up to this size of the file, and no byte more. */
function limitFileSize(bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:`], { stdio: 'pipe' });
}

interface Step {
  readonly events: number;
  /** How many bytes the kernel still takes during this step. */
  readonly takes: number | 'unlimited';
  /** Whether the log is closed and opened again afterwards, as after a crash. */
  readonly reopens: boolean;
}

describe.skipIf(fileLimitMissing !== null)('a write that ends at any byte', () => {
  test('fails what was not written, leaves nothing of what was in part, and keeps the log one chain', {
    timeout: 240_000,
  }, async () => {
    const lineBytes = await lengthOfLine();
    const takes = fc.oneof(
      fc.nat({ max: 4 * lineBytes }),
      fc.nat({ max: 6 }).map((less) => lineBytes + 3 - less),
      fc.constant<'unlimited'>('unlimited'),
    );
    const step = fc.record({ events: fc.integer({ min: 1, max: 5 }), takes, reopens: fc.boolean() });
    let failures = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 5 }), async (steps) => {
        failures += await runSteps(steps);
      }),
      {
        numRuns: 60,
        // One event that lacks its last bytes, its line feed, or nothing; then the same again behind a torn line.
        examples: [-2, -1, 0, 1].flatMap((more): [Step[]][] => [
          [[{ events: 1, takes: lineBytes + more, reopens: false }]],
          [[{ events: 2, takes: lineBytes + more, reopens: true }]],
          [
            [
              { events: 1, takes: 100, reopens: false },
              { events: 1, takes: 1, reopens: false },
              { events: 1, takes: lineBytes + more, reopens: more === 0 },
            ],
          ],
        ]),
      },
    );
    expect(failures).toBeGreaterThan(10);
  });
});

/** @returns How many events were refused. */
async function runSteps(steps: readonly Step[]): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-audit-'));
  const path = auditLogPath(folder);
  const open = () => openAuditLog({ folder, sync: 'default', clock: () => 0 });
  try {
    let log = await open();
    let number = 0;
    const acknowledged: number[] = [];
    let failures = 0;
    for (const { events, takes, reopens } of steps) {
      if (takes !== 'unlimited') limitFileSize(statSync(path).size + takes);
      const numbers = Array.from({ length: events }, () => ++number);
      const results = await Promise.allSettled(numbers.map((id) => log.append(exampleEvent(id), 'written')));
      limitFileSize('unlimited');
      for (const [index, result] of results.entries()) {
        if (result.status === 'fulfilled') acknowledged.push(numbers[index] ?? 0);
        else {
          failures++;
          expect(result.reason).toMatchObject({ name: 'AuditError', failure: 'notWritten' });
        }
      }
      await expect.poll(() => verifyAuditLog(folder)).toMatchObject({ ok: true, setAside: [] });
      if (!reopens) continue;
      await log.close();
      log = await open();
    }
    await log.append(exampleEvent(++number), 'written');
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, head: log.head() });
    await log.close();
    const requests = await recordedRequests(folder);
    expect([...acknowledged, number].filter((id) => !requests.has(exampleEvent(id).requestId))).toEqual([]);
    return failures;
  } finally {
    limitFileSize('unlimited');
    rmSync(folder, { recursive: true });
  }
}

/** The first line of a log: every one is as long until the sequence number has two digits. */
async function lengthOfLine(): Promise<number> {
  const folder = temporaryFolder();
  const log = await openAuditLog({ folder, sync: 'default' });
  await log.append(exampleEvent(1), 'written');
  await log.close();
  return statSync(auditLogPath(folder)).size;
}
