/** The same instance after an orderly end: over each token that works here, everything is as it was left. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingForInstance, startInstance } from '../support/instance.ts';
import { rootArn } from './support/arns.ts';
import { auditLines, brokenLink } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, present } from './support/daemon.ts';
import { newGrant } from './support/grants.ts';
import { allow } from './support/policies.ts';
import { invalidCiphertext, refusal } from './support/refusals.ts';

const EncryptionContext = { tenant: 'acme' };
const Policy = JSON.stringify({ Version: '2012-10-17', Id: 'mine', Statement: [allow(rootArn, 'kms:*')] });

for (const token of ['softhsm2', 'nss'] as const) {
  const missing = missingForInstance(token);
  if (missing !== null) process.stdout.write(`skipped: An instance over ${token} that is started again: ${missing}\n`);
  describe.skipIf(missing !== null)(`An instance over ${token} that is started again`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-restart-'));
    const dir = join(folder, 'instance');
    let made: Awaited<ReturnType<typeof makeThings>>;
    beforeAll(async () => {
      const instance = await startInstance({ token, dir });
      const kms = kmsOver(instance.socket);
      made = await makeThings(kms);
      kms.destroy();
      expect(await instance.stop()).toBe(0);
    }, bootTimeoutMs);
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    test(
      'has the key, alias, policy and grants, and decrypts what it encrypted',
      async () => {
        const instance = await startInstance({ token, dir });
        const kms = kmsOver(instance.socket);
        try {
          expect((await kms.describeKey({ KeyId: 'alias/kept' })).KeyMetadata).toEqual(made.metadata);
          expect(JSON.parse(present((await kms.getKeyPolicy({ KeyId: made.keyId })).Policy))).toEqual(
            JSON.parse(Policy),
          );
          const { CiphertextBlob } = made;
          const opened = await kms.decrypt({ CiphertextBlob, EncryptionContext, KeyId: 'alias/kept' });
          expect(Buffer.from(present(opened.Plaintext)).toString()).toBe('kept');
          expect(await refusal(kms.decrypt({ CiphertextBlob }))).toEqual(invalidCiphertext);
          const changed = Buffer.from(CiphertextBlob);
          changed.writeUInt8(changed.readUInt8(changed.length - 1) ^ 1, changed.length - 1);
          expect(await refusal(kms.decrypt({ CiphertextBlob: changed, EncryptionContext }))).toEqual(invalidCiphertext);
          const dataKey = await kms.generateDataKey({ KeyId: made.keyId, KeySpec: 'AES_256' });
          expect(present((await kms.decrypt({ CiphertextBlob: present(dataKey.CiphertextBlob) })).Plaintext)).toEqual(
            present(dataKey.Plaintext),
          );
          expect((await kms.listGrants({ KeyId: made.keyId })).Grants).toEqual(made.grants);
          await kms.describeKey({ KeyId: made.keyId, GrantTokens: [made.grantToken] });
          expect(present((await kms.generateRandom({ NumberOfBytes: 1024 })).Plaintext)).toHaveLength(1024);
        } finally {
          kms.destroy();
          expect(await instance.stop()).toBe(0);
        }
      },
      bootTimeoutMs,
    );

    test(
      'goes on with its audit log where it ended',
      async () => {
        const before = auditLines(dir).length;
        expect(before).toBeGreaterThan(0);
        const instance = await startInstance({ token, dir });
        const kms = kmsOver(instance.socket);
        try {
          await kms.listKeys();
          expect(auditLines(dir).length).toBeGreaterThan(before);
          expect(brokenLink(dir)).toBeUndefined();
        } finally {
          kms.destroy();
          await instance.stop();
        }
      },
      bootTimeoutMs,
    );
  });
}

async function makeThings(kms: KMS) {
  const { KeyMetadata } = await kms.createKey({ Description: 'kept' });
  const keyId = present(KeyMetadata?.KeyId);
  await kms.createAlias({ AliasName: 'alias/kept', TargetKeyId: keyId });
  await kms.createAlias({ AliasName: 'alias/dropped', TargetKeyId: keyId });
  await kms.deleteAlias({ AliasName: 'alias/dropped' });
  await kms.putKeyPolicy({ KeyId: keyId, Policy });
  const kept = await newGrant(kms, keyId, {
    Operations: ['Decrypt', 'CreateGrant'],
    Constraints: { EncryptionContextSubset: EncryptionContext },
    Name: 'kept',
  });
  const revoked = await newGrant(kms, keyId, { Operations: ['Decrypt'] });
  await kms.revokeGrant({ KeyId: keyId, GrantId: revoked.id });
  const { Grants: grants } = await kms.listGrants({ KeyId: keyId });
  const { CiphertextBlob } = await kms.encrypt({ KeyId: keyId, Plaintext: Buffer.from('kept'), EncryptionContext });
  return {
    keyId,
    metadata: KeyMetadata,
    CiphertextBlob: present(CiphertextBlob),
    grants,
    grantToken: kept.token,
  };
}
