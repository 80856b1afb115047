import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { AuditEvent, AuditLog, Durability } from '../../src/audit/audit-log.ts';
import { auditLogPath, openAuditLog } from '../../src/audit/open-audit-log.ts';
import { type RecordedEvent, readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { temporaryFolder } from './events.ts';
import { exampleEvent } from './example-event.ts';

const open = (folder: string, sync: 'default' | 'always' = 'default'): Promise<AuditLog> =>
  openAuditLog({ folder, sync, clock: () => 0 });

async function read(folder: string): Promise<readonly RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const event of readAuditEvents(folder)) events.push(event);
  return events;
}

describe('the audit log', () => {
  test('keeps events in the order of the calls and goes on where it ended', async () => {
    const folder = temporaryFolder();
    for (const first of [1, 101, 201]) {
      const log = await open(folder);
      expect(log.head().sequence).toBe(first - 1);
      const durability = (number: number): Durability => (number % 7 === 0 ? 'synced' : 'written');
      const numbers = Array.from({ length: 100 }, (_, index) => first + index);
      await Promise.all(numbers.map((number) => log.append(exampleEvent(number), durability(number))));
      expect(log.head()).toEqual((await verifyAuditLog(folder)).head);
      await log.close();
    }
    const events = await read(folder);
    expect(events.map((event) => event['requestID'])).toEqual(
      events.map((_, index) => exampleEvent(index + 1).requestId),
    );
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, events: 300 });
  });

  test.each(['default', 'always'] as const)('acknowledges only what is in the file (sync: %s)', async (sync) => {
    const folder = temporaryFolder();
    const log = await open(folder, sync);
    const appendOne = async (number: number): Promise<void> => {
      await log.append(exampleEvent(number), 'written');
      expect(readFileSync(auditLogPath(folder), 'utf8')).toContain(exampleEvent(number).requestId);
    };
    for (let number = 1; number <= 50; number++) await appendOne(number);
    await Promise.all(Array.from({ length: 200 }, (_, index) => appendOne(51 + index)));
    await log.close();
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, events: 250 });
  });

  test('finishes what was appended before it was closed, and refuses what comes after', async () => {
    const folder = temporaryFolder();
    const log = await open(folder);
    const appended = Array.from({ length: 100 }, (_, index) => log.append(exampleEvent(index), 'synced'));
    const closing = log.close();
    await expect(log.append(exampleEvent(101), 'written')).rejects.toMatchObject({
      name: 'AuditError',
      failure: 'closed',
      message: `the audit log \`${auditLogPath(folder)}\` is closed`,
    });
    await Promise.all([...appended, closing, log.close()]);
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, events: 100 });
  });

  test('refuses an event that cannot be rendered and goes on without a gap', async () => {
    const folder = temporaryFolder();
    const log = await open(folder);
    await log.append(exampleEvent(1), 'written');
    const impossible = { ...exampleEvent(2), receivedAtMs: Number.NaN } as AuditEvent;
    await expect(log.append(impossible, 'written')).rejects.toThrow(new RangeError('Invalid time value'));
    await log.append(exampleEvent(3), 'written');
    await log.close();
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, events: 2 });
  });
});

describe('opening the audit log', () => {
  test('makes a folder and a file that only their owner can read', async () => {
    const folder = join(temporaryFolder(), 'audit');
    const log = await open(folder);
    await log.close();
    const modes = [folder, auditLogPath(folder)].map((path) => (statSync(path).mode & 0o7777).toString(8));
    expect(modes).toEqual(['700', '600']);
  });

  test.each<[string, (folder: string) => void, string, (folder: string, path: string) => string]>([
    [
      'a folder that others can enter',
      (folder) => chmodSync(folder, 0o750),
      'notPrivate',
      (folder) => `\`${folder}\` has mode 0750, so others can get at it; run: chmod 0700 ${folder}`,
    ],
    [
      'a file that others can read',
      (folder) => writeFileSync(auditLogPath(folder), '', { mode: 0o644 }),
      'notPrivate',
      (_folder, path) => `\`${path}\` has mode 0644, so others can get at it; run: chmod 0600 ${path}`,
    ],
    [
      'a symbolic link',
      (folder) => symlinkSync('/dev/null', auditLogPath(folder)),
      'io',
      (_folder, path) =>
        `cannot open the audit log \`${path}\`: ELOOP: too many symbolic links encountered, open '${path}'`,
    ],
    [
      'a folder in its place',
      (folder) => mkdirSync(auditLogPath(folder)),
      'io',
      (_folder, path) => `cannot open the audit log \`${path}\`: it is a folder (EISDIR)`,
    ],
  ])('refuses %s', async (_what, prepare, failure, message) => {
    const folder = temporaryFolder();
    prepare(folder);
    await expect(open(folder)).rejects.toMatchObject({
      name: 'AuditError',
      failure,
      message: message(folder, auditLogPath(folder)),
    });
  });

  test('refuses a second writer, of this process or of another, until the first one has closed it', async () => {
    const folder = temporaryFolder();
    const message = `another process writes the audit log \`${auditLogPath(folder)}\`; is a daemon already running?`;
    const log = await open(folder);
    await expect(open(folder)).rejects.toMatchObject({ name: 'AuditError', failure: 'locked', message });
    const another = new URL('./log-child.ts', import.meta.url).pathname;
    await expect(promisify(execFile)(process.execPath, [another, 'open', folder])).rejects.toThrow(message);
    await log.append(exampleEvent(1), 'written');
    await log.close();
    await (await open(folder)).close();
  });

  const rewrite = (folder: string, edit: (content: string) => string): void =>
    writeFileSync(auditLogPath(folder), edit(readFileSync(auditLogPath(folder), 'utf8')));

  async function createLog(folder: string, events: number): Promise<void> {
    const log = await open(folder);
    await Promise.all(Array.from({ length: events }, (_, index) => log.append(exampleEvent(index), 'written')));
    await log.close();
  }

  test('takes up a whole record that only lacks its line feed', async () => {
    const folder = temporaryFolder();
    await createLog(folder, 3);
    rewrite(folder, (content) => content.slice(0, -1));
    await createLog(folder, 1);
    expect((await read(folder)).map((event) => event.eventName)).toEqual(Array(4).fill('Encrypt'));
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, events: 4 });
  });

  test('takes up a log of which only the end is read', async () => {
    const folder = temporaryFolder();
    await createLog(folder, 3_000);
    await createLog(folder, 1);
    expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, events: 3_001 });
  });
});
