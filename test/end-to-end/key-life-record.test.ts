/** Who may change the life and the tags of a key, and what of it is on record, as CloudTrail shows it. */

import { expect, test } from 'vitest';
import { account, rootArn } from './support/arns.ts';
import { type AuditLine, auditLines } from './support/audit-trail.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { allow, deny, policy, rootMayAll } from './support/policies.ts';
import { accessDenied } from './support/refusals.ts';
import { call, errorIn, json } from './support/wire.ts';

interface Case {
  readonly operation: string;
  readonly members: Readonly<Record<string, unknown>>;
  /** As CloudTrail names them. */
  readonly recorded?: Readonly<Record<string, unknown>>;
  readonly readOnly?: true;
  /** What has to be done first. */
  readonly first?: string;
}

const tags = [{ TagKey: 'Department', TagValue: 'IT' }];
const cases: readonly Case[] = [
  { operation: 'DisableKey', members: {} },
  { operation: 'EnableKey', members: {} },
  {
    operation: 'UpdateKeyDescription',
    members: { Description: 'New description' },
    recorded: { description: 'New description' },
  },
  {
    operation: 'TagResource',
    members: { Tags: tags },
    recorded: { tags: [{ tagKey: 'Department', tagValue: 'IT' }] },
  },
  { operation: 'UntagResource', members: { TagKeys: ['Dept'] }, recorded: { tagKeys: ['Dept'] } },
  { operation: 'ListResourceTags', members: { Limit: 7 }, recorded: { limit: 7 }, readOnly: true },
  { operation: 'GetKeyRotationStatus', members: {}, readOnly: true },
  { operation: 'EnableKeyRotation', members: { RotationPeriodInDays: 90 }, recorded: { rotationPeriodInDays: 90 } },
  { operation: 'DisableKeyRotation', members: {} },
  { operation: 'RotateKeyOnDemand', members: {} },
  {
    operation: 'ListKeyRotations',
    members: { IncludeKeyMaterial: 'ALL_KEY_MATERIAL', Limit: 7 },
    recorded: { includeKeyMaterial: 'ALL_KEY_MATERIAL', limit: 7 },
    readOnly: true,
  },
  { operation: 'ScheduleKeyDeletion', members: { PendingWindowInDays: 20 }, recorded: { pendingWindowInDays: 20 } },
  { operation: 'CancelKeyDeletion', members: {}, first: 'ScheduleKeyDeletion' },
];

describeDaemon('An operation on the life or the tags of a key', (daemon) => {
  const eventOf = (requestId: unknown): AuditLine => {
    const events = auditLines(daemon().instance.dir).filter((event) => event.requestID === requestId);
    expect(events).toHaveLength(1);
    return present(events[0]);
  };

  test.each(cases)('$operation is on record with its key and its members', async (each) => {
    const { kms, socket } = daemon();
    const key = await newKey(kms);
    if (each.first !== undefined) await call(socket, each.first, { KeyId: key.id });
    const answer = await call(socket, each.operation, { KeyId: key.id, ...each.members });
    expect(answer.status).toBe(200);
    const event = eventOf(answer.headers['x-amzn-requestid']);
    expect(event).toMatchObject({
      eventSource: 'kms.amazonaws.com',
      eventName: each.operation,
      eventType: 'AwsApiCall',
      readOnly: each.readOnly === true,
      recipientAccountId: account,
      resources: [{ ARN: key.arn, accountId: account, type: 'AWS::KMS::Key' }],
    });
    expect(event.errorCode).toBeUndefined();
    expect(event.requestParameters).toEqual({ keyId: key.id, ...each.recorded });
    const { DeletionDate } = json(answer);
    const elements = {
      ScheduleKeyDeletion: {
        keyId: key.arn,
        keyState: 'PendingDeletion',
        pendingWindowInDays: 20,
        deletionDate: new Date(Number(DeletionDate ?? 0) * 1000).toISOString(),
      },
      CancelKeyDeletion: { keyId: key.arn },
      RotateKeyOnDemand: { keyId: key.arn },
    };
    expect(event.responseElements).toEqual(elements[each.operation as keyof typeof elements] ?? null);
  });

  test('a waiting period that nobody chose is not on record as chosen', async () => {
    const key = await newKey(daemon().kms);
    const answer = await call(daemon().socket, 'ScheduleKeyDeletion', { KeyId: key.arn });
    const event = eventOf(answer.headers['x-amzn-requestid']);
    expect(event.requestParameters).toEqual({ keyId: key.arn });
    expect(event.responseElements).toMatchObject({ pendingWindowInDays: 30 });
  });

  test.each(cases)('$operation takes its own permission and no other', async ({ operation, members, first }) => {
    const { kms, socket } = daemon();
    const others = cases.map((each) => `kms:${each.operation}`).filter((action) => action !== `kms:${operation}`);
    const withoutIt = await newKey(kms, policy(allow(rootArn, [...others, 'kms:DescribeKey'])));
    const withAlone = await newKey(
      kms,
      policy(allow(rootArn, [`kms:${operation}`, ...(first ? [`kms:${first}`] : [])])),
    );
    const forbidden = await newKey(kms, policy(rootMayAll, deny(rootArn, `kms:${operation}`)));
    for (const key of [withoutIt, withAlone, forbidden]) {
      if (first !== undefined) expect((await call(socket, first, { KeyId: key.id })).status).toBe(200);
    }
    const before = (await kms.describeKey({ KeyId: withoutIt.id })).KeyMetadata;
    const answers = await Promise.all(
      [withoutIt, forbidden, withAlone].map(({ id }) => call(socket, operation, { KeyId: id, ...members })),
    );
    expect(answers.map(({ status }) => status)).toEqual([400, 400, 200]);
    const [lacking, denied] = answers.slice(0, 2).map(errorIn);
    expect(lacking).toEqual(accessDenied(rootArn, operation, withoutIt.arn, 'not-allowed'));
    expect(denied).toEqual(accessDenied(rootArn, operation, forbidden.arn, 'denied'));
    expect((await kms.describeKey({ KeyId: withoutIt.id })).KeyMetadata).toEqual(before);
    expect(eventOf(answers[0]?.headers['x-amzn-requestid'])).toMatchObject({
      eventName: operation,
      errorCode: 'AccessDeniedException',
      responseElements: null,
    });
  });
});
