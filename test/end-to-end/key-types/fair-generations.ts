/** Generations of several users: nobody's wait until somebody else has all of his. What came when is read from the audit log. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unixUserArn } from '../support/arns.ts';
import { auditLines } from '../support/audit-trail.ts';
import { bootTimeoutMs, type Daemon, newKey } from '../support/daemon.ts';
import { allow, policy, rootMayAll } from '../support/policies.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from '../support/unix-users.ts';

const nobody = unixUserArn('nobody');
const floodOf = 8;

export function fairGenerations(daemon: () => Daemon): void {
  sayIfNotRoot('Fair shares of generations');
  describe.skipIf(!runsAsRoot)('of two users', () => {
    let user: UnixClient;
    beforeAll(async () => {
      user = await UnixClient.start(daemon().socket, unixUsers.nobody);
    }, bootTimeoutMs);
    afterAll(() => user.stop());

    test("a user's many key pairs do not keep another one's waiting, and are all generated", async () => {
      const { kms, instance } = daemon();
      const may = allow(nobody, ['kms:DescribeKey', 'kms:GenerateDataKeyPairWithoutPlaintext']);
      const { id: KeyId } = await newKey(kms, policy(rootMayAll, may));
      expect(await user.send('DescribeKey', { KeyId })).toMatchObject({ ok: true });
      const asked = { KeyId, KeyPairSpec: 'RSA_2048' } as const;
      const before = auditLines(instance.dir).length;
      const flood = Array.from({ length: floodOf }, () => kms.generateDataKeyPairWithoutPlaintext(asked));
      // All of them are there when the first one is done.
      await Promise.race(flood);
      expect(await user.send('GenerateDataKeyPairWithoutPlaintext', asked)).toMatchObject({ ok: true });
      await Promise.all(flood);
      const served = auditLines(instance.dir)
        .slice(before)
        .filter(({ eventName }) => eventName === 'GenerateDataKeyPairWithoutPlaintext')
        .map(({ userIdentity }) => userIdentity.arn);
      expect(served).toHaveLength(floodOf + 1);
      // Before it came those that were done already, and two that were under way.
      expect(served.indexOf(nobody)).toBeLessThan(floodOf - 2);
    });
  });
}
