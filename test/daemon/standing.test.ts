/** Metadata and audit log tell of each other: what somebody puts back, cuts or edits of one of them while the daemon is stopped. */

import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { acceptPlace } from '../../src/audit/accept-place.ts';
import { type RecordedEvent, readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { Checkpoints } from '../../src/daemon/checkpoints.ts';
import { added, removed } from '../../src/store/records/changes.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { startService } from './kms-service.ts';
import { createUpkeptInstance, type UpkeptInstance } from './upkept-instance.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: metadata and audit log: ${softHsm2.missing}\n`);

const dataOf = (event: RecordedEvent | undefined): Record<string, unknown> =>
  (event?.['additionalEventData'] ?? {}) as Record<string, unknown>;

async function eventsIn(folder: string): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const event of readAuditEvents(folder)) events.push(event);
  return events;
}

describe.skipIf(softHsm2.missing !== null)('A start', () => {
  let token: TestToken;
  let instance: UpkeptInstance;
  let keyId: string;
  let saved: string;
  const auditFolder = (): string => join(instance.folder, 'data', 'audit');
  const auditLog = (): string => join(auditFolder(), 'audit.jsonl');
  const metadata = (): string => join(instance.folder, 'data', 'metadata.db');

  /** A run in which one thing is changed. */
  async function run(alias?: string): Promise<void> {
    const running = await instance.start(new SetClocks());
    if (alias !== undefined) await running.kms.createAlias({ AliasName: `alias/${alias}`, TargetKeyId: keyId });
    await running.stop();
  }
  /** Why it is refused; that nothing becomes of it shows in that it is refused again. */
  async function refusal(): Promise<string> {
    const messages: string[] = [];
    for (let starts = 0; starts < 2; starts++)
      messages.push(
        await run().then(
          () => 'it started',
          (error: Error) => error.message,
        ),
      );
    expect(messages[1]).toBe(messages[0]);
    return messages[0] ?? '';
  }
  const save = (): void => {
    copyFileSync(auditLog(), join(saved, 'audit.jsonl'));
    copyFileSync(metadata(), join(saved, 'metadata.db'));
  };
  const putBack = (...files: readonly ('audit.jsonl' | 'metadata.db')[]): void => {
    for (const file of files) copyFileSync(join(saved, file), file === 'audit.jsonl' ? auditLog() : metadata());
  };

  beforeAll(async () => {
    token = softHsm2.create();
    instance = await createUpkeptInstance(token);
    saved = mkdtempSync(join(tmpdir(), 'drawbridge-saved-'));
    const running = await instance.start(new SetClocks());
    keyId = present((await running.kms.createKey({})).KeyMetadata?.KeyId);
    await running.stop();
  });
  afterAll(async () => {
    await instance.remove();
    token.remove();
    rmSync(saved, { recursive: true });
  });
  beforeEach(save);
  afterEach(() => putBack('audit.jsonl', 'metadata.db'));

  test('is one like any other when nobody was there, and the log says each time where the metadata stands', async () => {
    await run('one');
    await run();
    await run('two');
    const events = await eventsIn(auditFolder());
    const epochs = events.flatMap((event) => {
      const { checkpoint, intent } = dataOf(event) as Record<string, { readonly epoch?: number } | undefined>;
      return checkpoint?.epoch ?? intent?.epoch ?? [];
    });
    expect(epochs).toEqual(epochs.toSorted((one, other) => one - other));
    const made = events.find((event) => event.eventName === 'CreateAlias');
    expect(dataOf(made)['intent']).toMatchObject({ outcome: 'done', epoch: expect.any(Number) });
    expect(await verifyAuditLog(auditFolder())).toMatchObject({ ok: true });
  });

  test('is refused over metadata of before the last change', async () => {
    await run('revoked');
    putBack('metadata.db');
    expect(await refusal()).toMatch(
      /^the metadata is older than the audit log says: of epoch \d+, and epoch \d+ is on record; .*drawbridge metadata accept --state [0-9a-f]{16}$/,
    );
  });

  test('is refused over metadata whose signature was removed', async () => {
    const database = new DatabaseSync(metadata());
    database.exec('delete from root');
    database.close();
    expect(await refusal()).toMatch(/^the metadata is older than the audit log says: of epoch 0, and epoch/);
  });

  test('is refused over metadata of the same age from another run', async () => {
    await run('mine');
    copyFileSync(metadata(), join(saved, 'mine.db'));
    copyFileSync(auditLog(), join(saved, 'mine.jsonl'));
    putBack('audit.jsonl', 'metadata.db');
    await run('theirs');
    copyFileSync(join(saved, 'mine.jsonl'), auditLog());
    expect(await refusal()).not.toBe('it started');
    putBack('audit.jsonl', 'metadata.db');
    await run('theirs');
    copyFileSync(join(saved, 'mine.db'), metadata());
    expect(await refusal()).not.toBe('it started');
  });

  test.each<[string, (content: Buffer) => Buffer | string]>([
    ['whose last line lacks a byte', (content) => content.subarray(0, -2)],
    ['whose last line is missing', (content) => content.subarray(0, content.lastIndexOf('\n', -2) + 1)],
    [
      'whose last line was changed a byte',
      (content) => content.toString('latin1').replace(/"hash"(?=[^\n]*\n$)/, '"hasH"'),
    ],
    ['whose last 100 bytes are zeros', (content) => Buffer.concat([content.subarray(0, -100), Buffer.alloc(100)])],
    ['that was emptied', () => ''],
    ['that was put back', () => readFileSync(join(saved, 'audit.jsonl'))],
  ])('is refused over an audit log %s, until an operator accepts the place', async (_what, edit) => {
    await run('made');
    writeFileSync(auditLog(), edit(readFileSync(auditLog())));
    const message = await refusal();
    const [, place = ''] =
      /was tampered with or damaged at line \d+, byte \d+: .*`drawbridge audit accept --at (\S+)`/.exec(message) ?? [];
    expect([message, place]).toEqual([expect.any(String), expect.stringMatching(/^audit\.jsonl:\d+:\d+/)]);
    await acceptPlace({ folder: auditFolder(), place, uid: 0 });
    await run('after');
    await run();
    expect(await verifyAuditLog(auditFolder())).toMatchObject({ ok: true, accepted: 1 });
  });

  test('cannot tell when metadata and log were put back together', async () => {
    await run('forgotten');
    putBack('metadata.db', 'audit.jsonl');
    await run('again');
  });
});

describe.skipIf(softHsm2.missing !== null)('While the daemon runs', () => {
  test('a change without an intent is followed by one line that says so, and that line by none', async () => {
    const token = softHsm2.create();
    onTestFinished(() => token.remove());
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-ties-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const audit = join(folder, 'audit');
    const kms = await startService(token, folder, { auditFolder: audit });
    onTestFinished(() => kms.close());
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const ties = new Checkpoints({ audit: kms.audit, store: kms.store, log, everyMs: 5 });
    onTestFinished(() => ties.stop());
    ties.begin();
    // Read again, as when a token goes away in a start: until it is, the store does not say where it stands.
    for (let loads = 0; loads < 10; loads++) await kms.store.load();
    const milestone = { version: 1, milestone: 'upkeep', reachedAtMs: 1, ranMs: 0 };
    for (const change of [added('milestone', milestone), removed('milestone', milestone)]) {
      await kms.turns.take(() => ({ changes: [change], response: undefined }), { isQuiet: true });
      const { epoch, treeHash } = kms.store.standing();
      const lastOf = async () => dataOf((await eventsIn(audit)).at(-1))['checkpoint'];
      await expect.poll(lastOf).toMatchObject({ epoch, records: treeHash });
      // Whatever else followed from it would have by now: the head is noted, and noting is no change.
      kms.store.noteAuditHead(kms.audit.syncedHead());
      const { sequence } = kms.audit.head();
      for (let ticks = 0; ticks < 20; ticks++) await new Promise((resolve) => setTimeout(resolve, 5));
      expect(kms.audit.head().sequence).toBe(sequence);
    }
  });
});
