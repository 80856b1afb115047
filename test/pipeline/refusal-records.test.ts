/** Refusals over a budget, in a real audit log. */

import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import type { AuditEvent, AuditLog } from '../../src/audit/audit-log.ts';
import { auditLogPath, openAuditLog } from '../../src/audit/open-audit-log.ts';
import { type RecordedEvent, readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import type { RefusalBudget } from '../../src/kms/budgets.ts';
import { payerOfUid } from '../../src/kms/payer.ts';
import { RefusalRecords } from '../../src/pipeline/refusal-records.ts';
import { exampleEvent } from '../audit/example-event.ts';

const budget: RefusalBudget = { recorded: 3, recordedPerSecond: 1, looked: 50, lookedPerSecond: 1 };
const lines = { extraBytes: 10_000, extraBytesPerSecond: 1_000 };
const mallory = payerOfUid(4001);
const account = { payer: mallory, purpose: 'request' } as const;
const silent = { debug() {}, info() {}, warn() {}, error() {} };

let folder: string;
let log: AuditLog;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-refusals-'));
  log = await openAuditLog({ folder, sync: 'default' });
  const opened = log;
  const made = folder;
  onTestFinished(async () => {
    await opened.close();
    rmSync(made, { recursive: true });
  });
});

function records(audit: Pick<AuditLog, 'append'> = log): RefusalRecords {
  return new RefusalRecords({ audit, account: '000000000000', budget, lines, log: silent });
}

function denied(number: number, changed: Partial<AuditEvent> = {}): AuditEvent {
  return { ...exampleEvent(number), errorCode: 'AccessDeniedException', errorMessage: 'no', ...changed };
}

async function read(): Promise<readonly RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const event of readAuditEvents(folder)) events.push(event);
  return events;
}

interface Counts {
  readonly payer: string;
  readonly refusals: readonly { readonly eventName: string; readonly errorCode: string; readonly count: number }[];
}

const countsOf = (events: readonly RecordedEvent[]): readonly Counts[] =>
  events
    .filter(({ eventName }) => eventName === 'AuditCountedRefusals')
    .map((event) => event['serviceEventDetails'] as Counts);

test('A flood of refusals is some lines, one that says that it is counted, and its count at a stop', async () => {
  const refusals = records();
  for (let number = 0; number < 10_000; number++) await refusals.record(denied(number), account);
  const linesBefore = (await read()).length;
  expect(linesBefore).toBeLessThan(20);
  await refusals.close();
  const events = await read();
  const counting = events.filter((event) => (event['additionalEventData'] as { counting?: object } | null)?.counting);
  expect(counting.map((event) => event['additionalEventData'])).toMatchObject([
    { counting: { payer: 'uid 4001', eventName: 'Encrypt', errorCode: 'AccessDeniedException' } },
  ]);
  const counted = countsOf(events).flatMap(({ refusals: kinds }) => kinds);
  const alone = events.filter(({ eventName }) => eventName === 'Encrypt').length;
  expect(alone + counted.reduce((sum, { count }) => sum + count, 0)).toBe(10_000);
  expect(await verifyAuditLog(folder)).toMatchObject({ ok: true });
});

test('What was counted is on record soon, without a stop', async () => {
  const refusals = records();
  for (let number = 0; number < 100; number++) await refusals.record(denied(number), account);
  await expect.poll(async () => countsOf(await read()).length, { timeout: 170_000 }).toBe(1);
  await refusals.close();
  expect(countsOf(await read())).toHaveLength(1);
});

test('None of a kind is answered before the line is on record that says that it is counted', async () => {
  const held = Promise.withResolvers<void>();
  const appended: AuditEvent[] = [];
  const refusals = records({
    async append(event) {
      appended.push(event as AuditEvent);
      if ('counting' in event) await held.promise;
    },
  });
  for (let number = 0; number < 3; number++) await refusals.record(denied(number), account);
  let answered = 0;
  const others = [4, 5, 6].map((number) =>
    Promise.resolve(refusals.record(denied(number), account)).then(() => answered++),
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(answered).toBe(0);
  held.resolve();
  await Promise.all(others);
  expect(appended).toHaveLength(4);
  expect(refusals.record(denied(7), account)).toBeUndefined();
  await refusals.close();
});

test('Where that line cannot be written, the answers of all that rely on it are withheld, and the next one tries again', async () => {
  let takes = true;
  const refusals = records({
    append: (event, durability) => (takes ? log.append(event, durability) : Promise.reject(new Error('no room'))),
  });
  for (let number = 0; number < 3; number++) await refusals.record(denied(number), account);
  takes = false;
  const results = await Promise.allSettled([4, 5].map((number) => refusals.record(denied(number), account)));
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  takes = true;
  await refusals.record(denied(6), account);
  expect(await read()).toHaveLength(4);
  await refusals.close();
});

test('Whoever invents operations and keys has a bounded number of kinds, and the rest is other', async () => {
  const refusals = records();
  const key = (number: number): string => `arn:aws:kms:us-east-1:000000000000:key/${number}`;
  for (let number = 0; number < 1_000; number++) {
    await refusals.record(denied(number, { resources: [key(number)] }), account);
    await refusals.record(
      denied(number, { eventName: `Invented${number}`, errorCode: 'UnknownOperationException', resources: [] }),
      account,
    );
  }
  await refusals.close();
  const events = await read();
  const [counts] = countsOf(events);
  expect(countsOf(events)).toHaveLength(1);
  expect(counts?.refusals.length).toBeLessThanOrEqual(25);
  const names = new Set(counts?.refusals.map(({ eventName }) => eventName));
  expect(names).toContain('other');
  expect(names).toContain('Unknown');
  expect(events.length).toBeLessThan(40);
  const other = counts?.refusals.filter(({ eventName }) => eventName === 'other') ?? [];
  expect(other[0]?.count).toBeGreaterThan(900);
});

test('The line of a refusal is short, whatever was sent with it, and says what was cut', async () => {
  const evil = '\u0001'.repeat(8_000);
  const requestParameters = { keyId: 'alias/payroll', encryptionContext: { [evil]: evil }, grantTokens: [evil] };
  await records().record(denied(1, { requestParameters, errorMessage: evil }), account);
  expect(statSync(auditLogPath(folder)).size).toBeLessThan(6 * 1024);
  const [event] = await read();
  expect(event?.['requestParameters']).toMatchObject({ keyId: 'alias/payroll' });
  expect(JSON.stringify(event)).toMatch(/cut 7\d+ characters|not recorded: \d+ bytes/);
});

test('Refusals of one payer cost another one no lines', async () => {
  const refusals = records();
  for (let number = 0; number < 100; number++) await refusals.record(denied(number), account);
  const other = { payer: payerOfUid(4002), purpose: 'request' } as const;
  await refusals.record(denied(200), other);
  expect((await read()).some((event) => event['requestID'] === exampleEvent(200).requestId)).toBe(true);
  await refusals.close();
});

test('Who is refused much more often than not is turned away; success counts in his favour, and operators never are', async () => {
  const refusals = records();
  for (let number = 0; number < 60; number++) {
    await refusals.record(denied(number), account);
    refusals.succeeded(mallory);
  }
  expect(refusals.turnsAway(mallory)).toBe(false);
  for (let number = 0; number < 60; number++) await refusals.record(denied(number), account);
  expect(refusals.turnsAway(mallory)).toBe(true);
  expect(refusals.turnsAway(payerOfUid(4002))).toBe(false);
  for (let number = 0; number < 60; number++)
    await refusals.record(denied(number), { ...account, payer: payerOfUid(0) });
  expect(refusals.turnsAway(payerOfUid(0))).toBe(false);
  await refusals.close();
});

test('A refusal that took the processor long counts as so many more', async () => {
  const refusals = records();
  for (let number = 0; number < 6; number++) {
    await refusals.record(denied(number), account);
    refusals.spent(mallory, 1);
  }
  expect(refusals.turnsAway(mallory)).toBe(true);
  await refusals.close();
});

test('Long lines about what was allowed have a budget of their own, which operators are not held to', () => {
  const refusals = records();
  for (const payer of [mallory, payerOfUid(0)])
    for (let number = 0; number < 3; number++) refusals.succeeded(payer, 6_000);
  expect(refusals.turnsAway(mallory)).toBe(true);
  expect(refusals.turnsAway(payerOfUid(0))).toBe(false);
  const other = payerOfUid(4002);
  for (let number = 0; number < 1_000; number++) refusals.succeeded(other);
  expect(refusals.turnsAway(other)).toBe(false);
});
