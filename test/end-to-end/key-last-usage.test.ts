/** GetKeyLastUsage and what policies make of it: which requests are uses of a key, and what is told of the last one. */

import { DisableKeyCommand, KeyLastUsageTrackingOperation, type KMS } from '@aws-sdk/client-kms';
import { beforeAll, describe, expect, test } from 'vitest';
import { startInstance } from '../support/instance.ts';
import { rootArn, unknownKeyId } from './support/arns.ts';
import { auditLines } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, describeDaemon, newKey, newKeyOf, present } from './support/daemon.ts';
import { examples, newSubject } from './support/examples.ts';
import { allow, deny, policy, rootMayAll } from './support/policies.ts';
import { refusal } from './support/refusals.ts';

const Plaintext = Buffer.from('x');
const lastUsage = async (kms: KMS, KeyId: string) => (await kms.getKeyLastUsage({ KeyId })).KeyLastUsage;

for (const token of ['softhsm2', 'nss'] as const) {
  describeDaemon(
    `The last use of a key over ${token}`,
    (daemon) => {
      const tracked = examples.filter(
        ({ operation, isForOtherKeys }) => operation in KeyLastUsageTrackingOperation && !isForOtherKeys,
      );

      test.each(tracked)('is $operation, with its request and its event in the audit log', async (example) => {
        const { kms, instance } = daemon();
        const subject = await newSubject(kms, example, policy(rootMayAll));
        const { KeyId, KeyLastUsage: before } = await kms.getKeyLastUsage({ KeyId: subject.keyId });
        expect(KeyId).toBe(subject.keyId);
        if (example.takes === undefined) expect(before).toEqual({});
        const method = `${example.operation.slice(0, 1).toLowerCase()}${example.operation.slice(1)}`;
        // Safe: the SDK has a method for each operation, and the example is its input.
        const send = kms as unknown as Record<
          string,
          (input: object) => Promise<{ $metadata: { requestId?: string } }>
        >;
        const { $metadata } = await present(send[method]?.bind(kms))(example.input(subject));
        const usage = present(await lastUsage(kms, subject.keyId));
        const event = auditLines(instance.dir).find(({ requestID }) => requestID === $metadata.requestId);
        expect(usage).toEqual({
          Operation: example.operation,
          Timestamp: new Date(present(event)['eventTime'] as string),
          CloudTrailEventId: event?.['eventID'],
          KmsRequestId: $metadata.requestId,
        });
      });

      test('is none of a key that was refused, looked at, or asked for a rehearsal', async () => {
        const { kms } = daemon();
        const key = await newKey(kms, policy(rootMayAll, deny(rootArn, ['kms:GenerateDataKey'])));
        const pair = await newKeyOf(kms, 'ECC_NIST_P256', 'SIGN_VERIFY');
        await refusal(kms.generateDataKey({ KeyId: key.id, KeySpec: 'AES_256' }));
        await refusal(kms.encrypt({ KeyId: key.id, Plaintext, DryRun: true }));
        await refusal(kms.decrypt({ KeyId: key.id, CiphertextBlob: Plaintext }));
        await kms.describeKey({ KeyId: key.id });
        await kms.disableKey({ KeyId: key.id });
        await refusal(kms.encrypt({ KeyId: key.id, Plaintext }));
        await kms.getPublicKey({ KeyId: pair.id });
        const SigningAlgorithm = 'ECDSA_SHA_256';
        await refusal(kms.verify({ KeyId: pair.id, Message: Plaintext, Signature: Plaintext, SigningAlgorithm }));
        expect([await lastUsage(kms, key.id), await lastUsage(kms, pair.id)]).toEqual([{}, {}]);
      });
    },
    token,
  );
}

describeDaemon('The last use', (daemon) => {
  let key: Awaited<ReturnType<typeof newKey>>;
  beforeAll(async () => {
    key = await newKey(daemon().kms);
  });

  test('of a key that was never used is an empty object, and uses are noted since its creation', async () => {
    const { kms } = daemon();
    const { KeyMetadata } = await kms.createKey({});
    const { $metadata, ...answer } = await kms.getKeyLastUsage({ KeyId: present(KeyMetadata?.Arn) });
    const CreationDate = KeyMetadata?.CreationDate;
    expect(answer).toEqual({
      KeyId: KeyMetadata?.KeyId,
      KeyLastUsage: {},
      TrackingStartDate: CreationDate,
      KeyCreationDate: CreationDate,
    });
  });

  test('of the two keys of ReEncrypt is one request', async () => {
    const { kms } = daemon();
    const other = await newKey(kms);
    const { CiphertextBlob } = await kms.encrypt({ KeyId: key.id, Plaintext });
    const { $metadata } = await kms.reEncrypt({ CiphertextBlob, DestinationKeyId: other.id });
    const [source, destination] = [await lastUsage(kms, key.id), await lastUsage(kms, other.id)];
    expect(source).toEqual(destination);
    expect(source).toMatchObject({ Operation: 'ReEncrypt', KmsRequestId: $metadata.requestId });
  });

  test('is asked of a key by its id or ARN, and not by an alias or of a key that is not there', async () => {
    const { kms } = daemon();
    await kms.createAlias({ AliasName: 'alias/last-usage', TargetKeyId: key.id });
    expect((await refusal(kms.getKeyLastUsage({ KeyId: 'alias/last-usage' }))).name).toBe('InvalidArnException');
    expect((await refusal(kms.getKeyLastUsage({ KeyId: unknownKeyId }))).name).toBe('NotFoundException');
    const closed = await newKey(kms, policy(allow(rootArn, 'kms:DescribeKey')));
    expect((await refusal(kms.getKeyLastUsage({ KeyId: closed.id }))).name).toBe('AccessDeniedException');
  });

  test('among 16 callers at once is one of theirs', async () => {
    const { kms } = daemon();
    const answers = await Promise.all(
      Array.from({ length: 16 }, async (_, index) => {
        const one = await Promise.all(Array.from({ length: 5 }, () => kms.encrypt({ KeyId: key.id, Plaintext })));
        return index % 2 === 0 ? one : [...one, await kms.generateDataKey({ KeyId: key.id, KeySpec: 'AES_256' })];
      }),
    );
    const usage = present(await lastUsage(kms, key.id));
    expect(answers.flat().map(({ $metadata }) => $metadata.requestId)).toContain(usage.KmsRequestId);
    const event = auditLines(daemon().instance.dir).find(({ eventID }) => eventID === usage.CloudTrailEventId);
    expect(event).toMatchObject({ eventName: usage.Operation, requestID: usage.KmsRequestId });
  });

  describe('protects a key from being disabled or deleted by kms:TrailingDaysWithoutKeyUsage', () => {
    const days = (operator: string, count: string) => ({
      Condition: { [operator]: { 'kms:TrailingDaysWithoutKeyUsage': count } },
    });
    const actions = ['kms:DisableKey', 'kms:ScheduleKeyDeletion'];
    test.each<[string, string, boolean]>([
      ['NumericLessThanEquals', '30', true],
      ['NumericLessThan', '0', false],
      ['NumericEquals', '0', true],
      ['NumericGreaterThan', '0', false],
    ])('where a Deny has %s %s: %s', async (operator, count, isProtected) => {
      const { kms } = daemon();
      const protectedKey = await newKey(
        kms,
        policy(rootMayAll, { ...deny(rootArn, actions), ...days(operator, count) }),
      );
      await kms.encrypt({ KeyId: protectedKey.id, Plaintext });
      const disabled = kms.send(new DisableKeyCommand({ KeyId: protectedKey.id }));
      if (!isProtected) {
        await disabled;
        await kms.scheduleKeyDeletion({ KeyId: protectedKey.id });
        return;
      }
      const scheduled = kms.scheduleKeyDeletion({ KeyId: protectedKey.id });
      for (const refused of [disabled, scheduled]) {
        expect((await refusal(refused)).name).toBe('AccessDeniedException');
      }
      expect((await kms.describeKey({ KeyId: protectedKey.id })).KeyMetadata?.KeyState).toBe('Enabled');
    });
  });
});

test(
  'A last use is there after an orderly stop, and one that was just noted may be lost by kill -9 and by nothing else',
  async () => {
    const first = await startInstance();
    const kms = (instance: typeof first): KMS => kmsOver(instance.socket);
    let client = kms(first);
    const { id } = await newKey(client);
    await client.encrypt({ KeyId: id, Plaintext });
    const before = await client.getKeyLastUsage({ KeyId: id });
    client.destroy();
    process.kill(first.pid, 'SIGTERM');
    await expect.poll(() => isRunning(first.pid)).toBe(false);

    const second = await first.restart();
    client = kms(second);
    const after = await client.getKeyLastUsage({ KeyId: id });
    expect(after).toEqual({ ...before, $metadata: after.$metadata });
    await client.generateDataKey({ KeyId: id, KeySpec: 'AES_256' });
    expect(await lastUsage(client, id)).toMatchObject({ Operation: 'GenerateDataKey' });
    client.destroy();
    await second.kill9();

    const third = await second.restart();
    client = kms(third);
    expect(await client.getKeyLastUsage({ KeyId: id })).toMatchObject({
      KeyLastUsage: before.KeyLastUsage,
      TrackingStartDate: before.TrackingStartDate,
    });
    await client.encrypt({ KeyId: id, Plaintext });
    client.destroy();
    expect(await third.stop()).toBe(0);
  },
  3 * bootTimeoutMs,
);

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false; // There is no such process any more.
  }
}
