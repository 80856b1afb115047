/**
 * On record, then effective: changes under a full audit queue, a full disk, `kill -9` at each step, over a real token, a real
 * SQLite file and a real audit log.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type RecordedEvent, readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import type { KeyId } from '../../src/kms/names.ts';
import { payerOfUid } from '../../src/kms/payer.ts';
import { added, replaced } from '../../src/store/records/changes.ts';
import { exampleEvent } from '../audit/example-event.ts';
import { alice, allow, policy, realm } from '../authorization/policies.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { createSmallDisk, smallDiskMissing } from '../support/small-disk.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { killSteps } from './killed-in-change.ts';
import { startService, type TestService } from './kms-service.ts';
import { createUpkeptInstance, type UpkeptInstance } from './upkept-instance.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: intents of changes: ${softHsm2.missing}\n`);

const bob = 'arn:aws:iam::000000000000:user/bob';

async function eventsIn(folder: string): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const event of readAuditEvents(folder)) events.push(event);
  return events;
}

const dataOf = (event: RecordedEvent | undefined): Record<string, unknown> =>
  (event?.['additionalEventData'] ?? {}) as Record<string, unknown>;
const intentOf = (event: RecordedEvent | undefined): { readonly id: string; readonly outcome?: string } | undefined =>
  dataOf(event)['intent'] as { readonly id: string; readonly outcome?: string } | undefined;

describe.skipIf(softHsm2.missing !== null)('The intent of a change', () => {
  let token: TestToken;
  let folder: string;
  let kms: TestService;
  let keyId: KeyId;
  const auditFolder = (): string => join(folder, 'audit');
  beforeAll(async () => {
    token = softHsm2.create();
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-intents-'));
    kms = await startService(token, folder, { auditFolder: auditFolder() });
    keyId = await kms.newKey();
  });
  afterAll(async () => {
    await kms.close();
    token.remove();
    rmSync(folder, { recursive: true });
  });
  const isGranted = (name: string): boolean =>
    [...kms.directory.grants.allOf(keyId)].some((grant) => grant.name === name);
  const createGrant = (Name: string) =>
    kms.run('CreateGrant', { KeyId: keyId, Name, GranteePrincipal: bob, Operations: ['Encrypt'] });

  test('says who, for which request, and the change itself, and the event of the request closes it', async () => {
    const document = policy(allow(alice, 'kms:*')).replace('{', `{${' '.repeat(20_000)}`);
    expect(await kms.run('PutKeyPolicy', { KeyId: keyId, Policy: document })).toMatchObject({ ok: true });
    const [intent, event] = (await eventsIn(auditFolder())).slice(-2);
    expect(intent).toMatchObject({
      eventName: 'AuditIntent',
      eventSource: 'drawbridge',
      userIdentity: { arn: alice },
      additionalEventData: {
        request: { requestID: 'PutKeyPolicy', eventName: 'PutKeyPolicy' },
        changes: [{ put: 'keyPolicy', record: { keyId, region: realm.region, document } }],
      },
    });
    expect(event).toMatchObject({ eventName: 'PutKeyPolicy', requestID: 'PutKeyPolicy' });
    expect(intentOf(event)).toEqual({ id: intentOf(intent)?.id, outcome: 'done' });
  });

  test('of the access key has its principal and not its secret, sealed or not', async () => {
    const sealedSecret = Buffer.from('sealed secret access key');
    const record = { version: 1, accessKeyId: 'AKIAEXAMPLE', principal: alice, sealedSecret, createdAtMs: 1 };
    await kms.turns.take(() => ({ changes: [added('accessKey', record as never)], response: undefined }));
    const intent = (await eventsIn(auditFolder())).findLast(({ eventName }) => eventName === 'AuditIntent');
    expect(dataOf(intent)['changes']).toEqual([
      { put: 'accessKey', record: { ...record, sealedSecret: '[not recorded]' } },
    ]);
  });

  test('is closed as not done where the store refuses the change', async () => {
    const { record } = present(kms.directory.findKey(keyId));
    const answer = await kms.service.act(
      {
        ...{ operationName: 'TestChange', eventSource: 'drawbridge', effect: 'changes', caller: kms.caller },
        ...{
          parameters: null,
          payer: payerOfUid(1),
          requestId: 'test',
          receivedAtMs: 0,
          sourceIPAddress: '127.0.0.1',
          userAgent: null,
        },
      },
      async (by) => {
        await kms.turns.take(() => ({ changes: [added('key', record)], response: undefined }), { by });
        return { body: '', record: null };
      },
    );
    expect(answer).toMatchObject({ ok: false, error: { name: 'KMSInternalException' } });
    const [intent, event] = (await eventsIn(auditFolder())).slice(-2);
    expect(event).toMatchObject({ eventName: 'TestChange', errorCode: 'KMSInternalException' });
    expect(intentOf(event)).toEqual({ id: intentOf(intent)?.id, outcome: 'not done' });
  });

  test('is not left out for what somebody may do', async () => {
    const { record } = present(kms.directory.findKey(keyId));
    const decide = () => ({ changes: [replaced('key', record, { description: 'unseen' })], response: undefined });
    await expect(kms.turns.take(decide, { isQuiet: true })).rejects.toThrow(
      'a record of kind key is not changed without an intent',
    );
    expect(present(kms.directory.findKey(keyId)).record.description).toBe('');
  });

  test('is on record of each change that took effect while the queue of the log was full, and no other change did', async () => {
    const large = { ...exampleEvent(1), requestParameters: { text: 'x'.repeat(8_000) } };
    const names = Array.from({ length: 30 }, (_, index) => `flooded-${index}`);
    let isFlooding = true;
    const flood = (async () => {
      while (isFlooding) {
        for (let count = 0; count < 1_200; count++) kms.audit.append(large, 'written').catch(() => undefined);
        await new Promise(setImmediate);
      }
    })();
    const answers = await Promise.all(names.map(createGrant));
    isFlooding = false;
    await flood;
    expect(answers.filter(({ ok }) => !ok).length).toBeGreaterThan(0);
    await expect.poll(() => kms.intents.failure(), { timeout: 170_000 }).toBeNull();
    const events = await eventsIn(auditFolder());
    const closed = new Map(events.map((event) => [intentOf(event)?.id, intentOf(event)?.outcome]));
    for (const name of names) {
      const intent = events.find(
        (event) => event.eventName === 'AuditIntent' && JSON.stringify(dataOf(event)['changes']).includes(`"${name}"`),
      );
      const outcome = closed.get(intentOf(intent)?.id) ?? 'not done';
      expect([name, isGranted(name)]).toEqual([name, outcome === 'done']);
    }
    // What waits in the queue for the disk goes on being there for a while.
    await expect.poll(() => createGrant('after-the-flood'), { timeout: 170_000 }).toMatchObject({ ok: true });
  });

  test.skipIf(smallDiskMissing !== null)(
    'keeps what was committed while its outcome cannot be written; other changes wait until it is',
    async () => {
      const own = mkdtempSync(join(tmpdir(), 'drawbridge-intents-'));
      onTestFinished(() => rmSync(own, { recursive: true }));
      const disk = createSmallDisk(8 * 1024 * 1024);
      onTestFinished(() => disk.remove());
      const ballast = join(disk.folder, 'ballast');
      await kms.close();
      kms = await startService(token, own, { auditFolder: disk.folder, intentRetryMs: 20 });
      onTestFinished(async () => {
        await kms.close();
        kms = await startService(token, folder, { auditFolder: auditFolder() });
      });
      keyId = await kms.newKey();
      const { record } = present(kms.directory.findKey(keyId));
      const answer = await kms.service.act(
        {
          ...{ operationName: 'TestChange', eventSource: 'drawbridge', effect: 'changes', caller: kms.caller },
          ...{
            parameters: null,
            payer: payerOfUid(1),
            requestId: 'test',
            receivedAtMs: 0,
            sourceIPAddress: '127.0.0.1',
            userAgent: null,
          },
        },
        async (by) => {
          const decide = () => ({ changes: [replaced('key', record, { description: 'committed' })], response: 0 });
          await kms.turns.take(decide, { by });
          const { bavail, bsize } = statfsSync(disk.folder);
          writeFileSync(ballast, Buffer.alloc(bavail * bsize));
          // The page in which the log ends has room still.
          for (let fits = true; fits; )
            fits = await kms.audit.append(exampleEvent(1), 'written').then(
              () => true,
              () => false,
            );
          return { body: '', record: null };
        },
      );
      expect(answer).toMatchObject({ ok: false, error: { name: 'KMSInternalException' } });
      expect(present(kms.directory.findKey(keyId)).record.description).toBe('committed');
      expect(kms.intents.failure()).toContain('the outcome of 1 changes is not on record yet');
      expect(await createGrant('refused')).toMatchObject({ ok: false, error: { name: 'KMSInternalException' } });
      expect(isGranted('refused')).toBe(false);

      rmSync(ballast);
      await expect.poll(() => kms.intents.failure()).toBeNull();
      const events = await eventsIn(disk.folder);
      const intent = events.find((event) => dataOf(event)['request'] !== undefined);
      const closing = events.filter(
        (event) => intentOf(event)?.outcome !== undefined && intentOf(event)?.id === intentOf(intent)?.id,
      );
      expect(closing).toMatchObject([
        { eventName: 'TestChange', additionalEventData: { intent: { outcome: 'done' } } },
      ]);
      // A disk that was full is asked again once a second.
      await expect.poll(() => kms.audit.failure(), { timeout: 170_000 }).toBeNull();
      expect(await createGrant('made')).toMatchObject({ ok: true });
      expect(await verifyAuditLog(disk.folder)).toMatchObject({ ok: true });
    },
  );
});

describe.skipIf(softHsm2.missing !== null)('A daemon that is killed in a change', () => {
  let token: TestToken;
  let instance: UpkeptInstance;
  let keyId: string;
  beforeAll(async () => {
    token = softHsm2.create();
    instance = await createUpkeptInstance(token);
    const running = await instance.start(new SetClocks());
    keyId = present((await running.kms.createKey({})).KeyMetadata?.KeyId);
    await running.stop();
  });
  afterAll(async () => {
    await instance.remove();
    token.remove();
  });
  const child = fileURLToPath(new URL('killed-in-change.ts', import.meta.url));

  test.each(killSteps)('%s closes it at the next start by what the records show', async (step) => {
    const name = `alias/killed-${killSteps.indexOf(step)}`;
    const { signal, stderr } = spawnSync(process.execPath, [child, instance.configurationFile, step, keyId, name], {
      encoding: 'utf8',
    });
    expect([signal, stderr]).toEqual(['SIGKILL', '']);
    const running = await instance.start(new SetClocks());
    const { Aliases } = await running.kms.listAliases({ KeyId: keyId });
    await running.stop();
    const intent = (await instance.events('AuditIntent')).at(-1) as RecordedEvent;
    const outcome = (await instance.events('AuditOutcome')).at(-1) as RecordedEvent;
    const isMade = step === 'when it is written';
    expect(present(Aliases).some(({ AliasName }) => AliasName === name)).toBe(isMade);
    expect(dataOf(intent)['changes']).toMatchObject([{ put: 'alias', record: { aliasName: name } }]);
    expect(intentOf(outcome)).toEqual({ id: intentOf(intent)?.id, outcome: isMade ? 'done' : 'not done' });
    expect(String(dataOf(outcome)['because'])).toMatch(/^at start: the records /);
  });
});
