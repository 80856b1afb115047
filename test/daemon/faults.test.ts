/** A disk of the audit log that others have filled to the last byte, or that hangs, under a service over a real token. */

import { mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ownAccount } from '../../src/audit/audit-log.ts';
import { auditLogPath, openAuditLog } from '../../src/audit/open-audit-log.ts';
import { verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { ailment, type HealthParts } from '../../src/daemon/health.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import type { Caller } from '../../src/identity/caller.ts';
import { internalMessage } from '../../src/keys/key-store-errors.ts';
import { rootArn } from '../../src/kms/names.ts';
import { payerOfUid } from '../../src/kms/payer.ts';
import { exampleEvent } from '../audit/example-event.ts';
import { alice, allow, policy, realm } from '../authorization/policies.ts';
import { createHangingDisk, hangingDiskMissing } from '../support/hanging-disk.ts';
import { createSmallDisk, smallDiskMissing } from '../support/small-disk.ts';
import { describeEachToken } from '../support/tokens.ts';
import { startService, type TestService } from './kms-service.ts';

const root: Caller = {
  type: 'Root',
  arn: rootArn(realm),
  accountId: realm.account,
  proof: { kind: 'unix', uid: 0, gid: 0, pid: 1, groups: [] },
};

describe.skipIf(smallDiskMissing !== null)('an audit log whose disk is full', () => {
  describeEachToken('with keys', (token) => {
    test('takes nothing but changes that take permissions away, of root for longest, and everything when there is room', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'drawbridge-full-'));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const disk = createSmallDisk(2 * 1024 * 1024);
      onTestFinished(() => disk.remove());
      const kms = await startService(token(), folder, { auditFolder: disk.folder });
      onTestFinished(() => kms.close());
      const keyId = await kms.newKey(policy(allow(alice, 'kms:*'), allow(rootArn(realm), 'kms:*')));
      const ballast = join(disk.folder, 'ballast');
      const { bavail, bsize } = statfsSync(disk.folder);
      writeFileSync(ballast, Buffer.alloc(bavail * bsize));
      const grant = { KeyId: keyId, GranteePrincipal: 'arn:aws:iam::000000000000:user/bob', Operations: ['Encrypt'] };
      const refused = { ok: false, error: { name: 'KMSInternalException', message: internalMessage } };

      expect(kms.audit.failure()).toBeNull();
      const reads = await runUntilRefused(() => kms.run('DescribeKey', { KeyId: keyId }));
      expect(reads).toBeGreaterThan(0);
      expect(kms.audit.failure()).toBe("the audit log's disk is full");
      expect(kms.audit.obstacle(ownAccount)).toContain(
        'is full but for what is kept for changes that take permissions away',
      );
      expect(await kms.run('CreateGrant', grant)).toMatchObject(refused);
      expect(kms.directory.grants.ofKey(keyId)).toBeUndefined();
      expect(await kms.run('Encrypt', { KeyId: keyId, Plaintext: 'AA==' })).toMatchObject(refused);
      // Alice can disable her key, and cannot use up what is kept for root by doing it again and again.
      expect(await runUntilRefused(() => kms.run('DisableKey', { KeyId: keyId }))).toBeGreaterThan(0);
      expect(await runAsRoot(kms, 'EnableKey', { KeyId: keyId })).toMatchObject({ ok: true });
      expect(await runAsRoot(kms, 'DisableKey', { KeyId: keyId })).toMatchObject({ ok: true });
      expect(kms.directory.findKey(keyId)?.state).toBe('Disabled');

      rmSync(ballast);
      await expect.poll(() => kms.audit.failure(), { timeout: 170_000 }).toBeNull();
      expect(await kms.run('CreateGrant', grant)).toMatchObject({ ok: false, error: { name: 'DisabledException' } });
      expect(await kms.run('EnableKey', { KeyId: keyId })).toMatchObject({ ok: true });
      expect(await verifyAuditLog(disk.folder)).toMatchObject({ ok: true });
    });
  });
});

describe.skipIf(hangingDiskMissing !== null)('an audit log whose disk hangs', () => {
  describeEachToken('with keys', (token) => {
    test('withholds every answer until it goes on, and nothing else waits for it', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'drawbridge-hangs-'));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const disk = createHangingDisk();
      onTestFinished(() => disk.remove());
      const kms = await startService(token(), folder, { auditFolder: disk.folder });
      onTestFinished(() => kms.close());
      const keyId = await kms.newKey(policy(allow(alice, 'kms:*')));
      const encrypt = () => kms.run('Encrypt', { KeyId: keyId, Plaintext: 'AA==' });
      expect(await encrypt()).toMatchObject({ ok: true });

      disk.hang();
      let answeredCount = 0;
      const answers = Array.from({ length: 20 }, () =>
        encrypt().finally(() => {
          answeredCount++;
        }),
      );
      // The HSM is asked, timers run and the records are read meanwhile: nothing stands still but what has to.
      for (let turn = 0; turn < 20; turn++) {
        await new Promise((go) => setTimeout(go, 10));
        await kms.keyStore.random({ lengthBytes: 8 });
        expect(kms.directory.findKey(keyId)?.state).toBe('Enabled');
      }
      expect(answeredCount).toBe(0);
      expect(disk.goOn()).toBe(true);
      for (const answer of await Promise.all(answers)) expect(answer).toMatchObject({ ok: true });
      expect(await encrypt()).toMatchObject({ ok: true });
      const recorded = readFileSync(auditLogPath(disk.folder), 'utf8').split('"eventName":"Encrypt"').length - 1;
      expect(recorded).toBe(22);
      expect(await verifyAuditLog(disk.folder)).toMatchObject({ ok: true });
    });
  });
});

describe.skipIf(hangingDiskMissing !== null)('metadata whose disk hangs', () => {
  describeEachToken('with keys', (token) => {
    test('wait on another thread for what is written of their own accord, and nothing stands still', async () => {
      const disk = createHangingDisk();
      onTestFinished(() => disk.remove());
      const folder = mkdtempSync(join(tmpdir(), 'drawbridge-hangs-'));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const kms = await startService(token(), disk.folder, { auditFolder: folder });
      onTestFinished(() => kms.close());
      const keyId = await kms.newKey(policy(allow(alice, 'kms:*')));
      const encrypt = () => kms.run('Encrypt', { KeyId: keyId, Plaintext: 'AA==' });
      expect(await encrypt()).toMatchObject({ ok: true });

      disk.hang();
      // Longer than any answer of the disk is good for: the last one may have come just before it hung.
      await new Promise((go) => setTimeout(go, 200));
      kms.store.noteAuditHead(kms.audit.syncedHead());
      const written = kms.directory.lastUses.write();
      // Past the second after which the head is written.
      await new Promise((go) => setTimeout(go, 1_500));
      expect(await encrypt()).toMatchObject({ ok: true });
      // Else it would have gone on by itself, and this process with it.
      expect(disk.goOn()).toBe(true);
      await written;
      expect(kms.directory.lastUses.of(keyId)?.operation).toBe('Encrypt');
    });

    test('wait on another thread for a change whose intent is on another disk, which is made when it goes on', async () => {
      const disk = createHangingDisk();
      onTestFinished(() => disk.remove());
      const folder = mkdtempSync(join(tmpdir(), 'drawbridge-hangs-'));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const kms = await startService(token(), disk.folder, { auditFolder: folder });
      onTestFinished(() => kms.close());
      const keyId = await kms.newKey(policy(allow(alice, 'kms:*')));
      const describe = () => kms.run('UpdateKeyDescription', { KeyId: keyId, Description: 'since' });
      const encrypt = () => kms.run('Encrypt', { KeyId: keyId, Plaintext: 'AA==' });
      expect(await encrypt()).toMatchObject({ ok: true });

      disk.hang();
      // Longer than any answer of the disk is good for.
      await new Promise((go) => setTimeout(go, 200));
      const described = describe();
      await new Promise((go) => setTimeout(go, 500));
      expect(await encrypt()).toMatchObject({ ok: true });
      expect(kms.directory.findKey(keyId)?.record.description).not.toBe('since');
      // Else it would have gone on by itself, and this process with it.
      expect(disk.goOn()).toBe(true);
      expect(await described).toMatchObject({ ok: true });
      expect(kms.directory.findKey(keyId)?.record.description).toBe('since');
    });
  });
});

describe.skipIf(smallDiskMissing !== null)('a daemon whose disks are full', () => {
  const keyStore = { status: () => ({ state: 'connected' }) as ReturnType<KeyStore['status']> };
  const well = { failure: () => null };
  const of = (parts: Partial<HealthParts>): string | null =>
    ailment({
      keyStores: new Map([['default', keyStore]]),
      required: new Set(['default']),
      audit: well,
      intents: well,
      dataDir: tmpdir(),
      ...parts,
    });

  test('is unwell when its metadata has no room for a change, and while an outcome is owed to the record', () => {
    expect(of({})).toBeNull();
    expect(of({ intents: { failure: () => 'the outcome of 1 changes is not on record yet' } })).toBe(
      'the outcome of 1 changes is not on record yet',
    );
    const disk = createSmallDisk(2 * 1024 * 1024);
    onTestFinished(() => disk.remove());
    const { folder: dataDir } = disk;
    expect(of({ dataDir })).toBeNull();
    writeFileSync(join(dataDir, 'ballast'), Buffer.alloc(1.5 * 1024 * 1024));
    expect(of({ dataDir })).toBe('the disk of the metadata is full');
    rmSync(join(dataDir, 'ballast'));
    expect(of({ dataDir })).toBeNull();
  });

  test.each([1, 2, 8])('is never well when it would refuse a change, on a disk of %s MiB', async (mebibytes) => {
    const disk = createSmallDisk(mebibytes * 1024 * 1024);
    onTestFinished(() => disk.remove());
    const audit = await openAuditLog({ folder: disk.folder, sync: 'default' });
    onTestFinished(() => audit.close());
    const { bavail, bsize } = statfsSync(disk.folder);
    writeFileSync(join(disk.folder, 'ballast'), Buffer.alloc(bavail * bsize));
    let refused = 0;
    for (let lines = 0; lines < 20_000 && refused < 10; lines++) {
      await audit.append(exampleEvent(lines), 'written', { purpose: 'request' }).catch(() => refused++);
      if (audit.obstacle({ purpose: 'change' }) !== null) {
        refused++;
        expect(of({ audit })).toBe("the audit log's disk is full");
      }
    }
    expect(refused).toBeGreaterThan(0);
  });
});

/** @returns How many were answered before. */
async function runUntilRefused(run: () => Promise<{ readonly ok: boolean }>): Promise<number> {
  for (let count = 0; count < 2_000; count++) if (!(await run()).ok) return count;
  throw new Error('none was refused');
}

function runAsRoot({ service }: TestService, operationName: string, request: object) {
  return service.run({
    operationName,
    body: Buffer.from(JSON.stringify(request)),
    unknownMembers: 'refuse',
    requestId: operationName,
    receivedAtMs: Date.now(),
    sourceIPAddress: 'unix',
    userAgent: null,
    payer: payerOfUid(0),
    caller: root,
  });
}
