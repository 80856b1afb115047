/** Lines that wait for the disk, in a real log: all of a test are appended before the first one can be written. */

import { expect, test } from 'vitest';
import type { AuditLog, LineAccount } from '../../src/audit/audit-log.ts';
import { auditLogPath, openAuditLog } from '../../src/audit/open-audit-log.ts';
import { maxQueuedBytes } from '../../src/audit/queue-shares.ts';
import { verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { payerOfUid } from '../../src/kms/payer.ts';
import { temporaryFolder } from './events.ts';
import { exampleEvent } from './example-event.ts';

const large = { ...exampleEvent(1), requestParameters: { text: 'x'.repeat(8_000) } };
const lineBytes = 9_000;
const of = (uid: number): LineAccount => ({ payer: payerOfUid(uid), purpose: 'request' });

/** How many of so many lines at once are taken. */
async function flood(log: AuditLog, account: LineAccount, count: number): Promise<{ taken: Promise<number> }> {
  const results = Array.from({ length: count }, () => log.append(large, 'written', account));
  return {
    taken: Promise.allSettled(results).then((all) => all.filter(({ status }) => status === 'fulfilled').length),
  };
}

test('One payer has at most half of what may wait, told so by name, and has it again when it was written', async () => {
  const folder = temporaryFolder();
  const log = await openAuditLog({ folder, sync: 'default' });
  const [results] = await Promise.all([
    Promise.allSettled(Array.from({ length: 1_000 }, () => log.append(large, 'written', of(1)))),
  ]);
  const refused = results.filter((result) => result.status === 'rejected');
  expect((1_000 - refused.length) * lineBytes).toBeLessThan(maxQueuedBytes * 0.55);
  expect((1_000 - refused.length) * lineBytes).toBeGreaterThan(maxQueuedBytes * 0.45);
  expect(refused[0]?.reason).toMatchObject({
    name: 'AuditError',
    failure: 'overloaded',
    message: `too many events wait to be written to \`${auditLogPath(folder)}\`; look at its disk`,
  });
  await log.append(large, 'synced', of(1));
  await log.close();
  expect(await verifyAuditLog(folder)).toMatchObject({ ok: true, events: 1_001 - refused.length });
});

test('While twenty payers flood, another one, a change and its outcome get in', async () => {
  const log = await openAuditLog({ folder: temporaryFolder(), sync: 'default' });
  const floods = await Promise.all(Array.from({ length: 20 }, (_, uid) => flood(log, of(uid + 1), 200)));
  const others = [
    log.append(exampleEvent(2), 'written', of(100)),
    log.append(large, 'synced', { ...of(1), purpose: 'change' }),
    log.append(large, 'synced', { ...of(1), purpose: 'revocation' }),
    log.append(large, 'synced'),
  ];
  expect((await Promise.allSettled(others)).map(({ status }) => status)).toEqual(others.map(() => 'fulfilled'));
  let taken = 0;
  for (const each of floods) taken += await each.taken;
  expect(taken).toBeGreaterThan(0);
  expect(taken).toBeLessThan(20 * 200);
  await log.close();
});
