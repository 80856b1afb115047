/** A disk of the audit log that has little room left, under a service over a real token. */

import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type RecordedEvent, readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { internalMessage } from '../../src/keys/key-store-errors.ts';
import { createSmallDisk, smallDiskMissing } from '../support/small-disk.ts';
import { describeEachToken } from '../support/tokens.ts';
import { startService } from './kms-service.ts';

const mebibyte = 1024 * 1024;

describe.skipIf(smallDiskMissing !== null)('an audit log whose disk has little room left', () => {
  describeEachToken('with keys', (token) => {
    test('takes no change, on record, and everything else; and changes again when there is room', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'drawbridge-full-'));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const disk = createSmallDisk(6 * mebibyte);
      onTestFinished(() => disk.remove());
      const kms = await startService(token(), folder, { auditFolder: disk.folder });
      onTestFinished(() => kms.close());
      const keyId = await kms.newKey();
      const ballast = join(disk.folder, 'ballast');
      const { bavail, bsize } = statfsSync(disk.folder);
      writeFileSync(ballast, Buffer.alloc(bavail * bsize - 3 * mebibyte));

      const grant = { KeyId: keyId, GranteePrincipal: 'arn:aws:iam::000000000000:user/bob', Operations: ['Encrypt'] };
      const answer = await kms.run('CreateGrant', grant);
      expect(answer).toMatchObject({ ok: false, error: { name: 'KMSInternalException', message: internalMessage } });
      expect(kms.directory.grants.ofKey(keyId)).toBeUndefined();
      expect(kms.errors).toMatchObject([
        {
          operation: 'CreateGrant',
          err: {
            message: `the disk of the audit log \`${join(disk.folder, 'audit.jsonl')}\` has less than 4 MiB left; no change is begun before it has more`,
          },
        },
      ]);
      expect(await kms.run('DescribeKey', { KeyId: keyId })).toMatchObject({ ok: true });
      rmSync(ballast);
      expect(await kms.run('CreateGrant', grant)).toMatchObject({ ok: true });

      const events: RecordedEvent[] = [];
      for await (const event of readAuditEvents(disk.folder)) events.push(event);
      expect(events.map(({ eventName, errorCode }) => [eventName, errorCode])).toEqual([
        ['CreateGrant', 'KMSInternalException'],
        ['DescribeKey', undefined],
        ['CreateGrant', undefined],
      ]);
      expect(await verifyAuditLog(disk.folder)).toMatchObject({ ok: true });
    });
  });
});
