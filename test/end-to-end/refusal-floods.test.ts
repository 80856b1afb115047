/** A user without any permission who floods a real daemon with requests that are refused, as dear as they can be made. */

import { statSync } from 'node:fs';
import { join } from 'node:path';
import { CreateKeyCommand } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { type AuditLine, auditFolder, auditLines } from './support/audit-trail.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from './support/unix-users.ts';

sayIfNotRoot('floods of refusals');
const missing = missingForInstance();

describe.skipIf(!runsAsRoot || missing !== null)('a user who is refused everything', () => {
  let instance: Instance;
  let nobody: UnixClient;
  let keyId: string;

  beforeAll(async () => {
    instance = await startInstance();
    nobody = await UnixClient.start(instance.socket, unixUsers.nobody);
    const { KeyMetadata } = await instance.sdkClient().send(new CreateKeyCommand({}));
    keyId = KeyMetadata?.KeyId ?? '';
  });
  afterAll(async () => {
    await nobody.stop();
    await instance.stop();
  });

  test('writes a bounded number of short lines, and how many there were in all is on record', async () => {
    const requests = 1_500;
    const bytes = (): number => statSync(join(auditFolder(instance.dir), 'audit.jsonl')).size;
    const before = bytes();
    const input = { KeyId: keyId, Plaintext: new Uint8Array(1), EncryptionContext: { x: '\u0001'.repeat(8_000) } };
    const replies = await Promise.all(Array.from({ length: requests }, () => nobody.send('Encrypt', input)));
    expect(new Set(replies.map((reply) => (reply.ok ? 'ok' : reply.name)))).toEqual(new Set(['AccessDeniedException']));
    const counted = (): number =>
      linesOf('AuditCountedRefusals')
        .flatMap((line) => (line['serviceEventDetails'] as { refusals: { count: number }[] }).refusals)
        .reduce((sum, { count }) => sum + count, 0);
    await expect.poll(() => linesOf('Encrypt').length + counted(), { timeout: 170_000 }).toBe(requests);
    // 500 lines of less than 3 KB at once, and some while it goes on; 25 KB for each of all were 37 MB.
    expect(bytes() - before).toBeLessThan(3_000_000);
    expect(linesOf('Encrypt').some((line) => JSON.stringify(line).includes('"counting":{"payer":"uid 65534"'))).toBe(
      true,
    );
    expect(await verifyAuditLog(auditFolder(instance.dir))).toMatchObject({ ok: true });
  });

  function linesOf(eventName: string): readonly AuditLine[] {
    return auditLines(instance.dir).filter((line) => line.eventName === eventName);
  }
});
