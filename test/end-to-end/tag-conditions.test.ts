/**
 * Tags in policies: `aws:ResourceTag`, `aws:RequestTag` and `aws:TagKeys`, by the examples of the developer guide, in identity
 * policies and in key policies. A change of tags is in force when it is answered.
 */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS, Tag } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { account, rootArn, unixUserArn } from './support/arns.ts';
import { auditLines } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, newKey, present } from './support/daemon.ts';
import { may, writeIdentityPolicy } from './support/identity-policies.ts';
import { allow, deny, policy } from './support/policies.ts';
import { accessDenied, refusal } from './support/refusals.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from './support/unix-users.ts';

const tag = (TagKey: string, TagValue = ''): Tag => ({ TagKey, TagValue });
const Plaintext = Buffer.from('tagged');
const allKeys = `arn:aws:kms:*:${account}:key/*`;

const missing = missingForInstance();
sayIfNotRoot('Tags in policies');
describe.skipIf(!runsAsRoot || missing !== null)('Tags in policies', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-tag-policies-'));
  let instance: Instance;
  let kms: KMS;
  const clients = new Map<keyof typeof unixUsers, UnixClient>();
  const as = (name: keyof typeof unixUsers): UnixClient => present(clients.get(name));
  const outcome = async (user: keyof typeof unixUsers, operation: string, input: object): Promise<string> => {
    const reply = await as(user).send(operation, input);
    return reply.ok ? 'allowed' : reply.name;
  };
  const denied = 'AccessDeniedException';

  beforeAll(async () => {
    chmodSync(folder, 0o755);
    const create = may('kms:CreateKey');
    // "The following IAM policy allows the principals to create tags and delete tags only for tags with a Project tag key."
    writeIdentityPolicy(
      folder,
      'project.json',
      [unixUserArn('nobody')],
      create,
      may('kms:ListResourceTags', allKeys),
      may(['kms:TagResource', 'kms:UntagResource'], allKeys, {
        Condition: { 'ForAllValues:StringEquals': { 'aws:TagKeys': 'Project' } },
      }),
    );
    // "It also allows them to create and manage tags on all KMS keys in the specified account."
    writeIdentityPolicy(
      folder,
      'tags.json',
      [unixUserArn('daemon')],
      create,
      may(['kms:TagResource', 'kms:UntagResource', 'kms:ListResourceTags'], allKeys),
    );
    // Everything but what is reserved, or has no type: `IAMDenyOnTag` and `IAMDenyNoTag`.
    const uses = ['kms:Encrypt', 'kms:GenerateDataKey*', 'kms:Decrypt', 'kms:ReEncrypt*'];
    writeIdentityPolicy(
      folder,
      'types.json',
      [unixUserArn('www-data')],
      create,
      may(uses, allKeys),
      {
        ...may(uses, allKeys, { Condition: { StringEquals: { 'aws:ResourceTag/Type': 'Reserved' } } }),
        Effect: 'Deny',
      },
      { ...may(uses, allKeys, { Condition: { Null: { 'aws:ResourceTag/Type': 'true' } } }), Effect: 'Deny' },
    );
    instance = await startInstance({ policies: folder });
    kms = kmsOver(instance.socket);
    for (const name of ['nobody', 'daemon', 'www-data'] as const) {
      clients.set(name, await UnixClient.start(instance.socket, unixUsers[name]));
    }
  }, bootTimeoutMs);
  afterAll(async () => {
    kms?.destroy();
    for (const client of clients.values()) await client.stop();
    await instance?.stop();
    rmSync(folder, { recursive: true, force: true });
  }, bootTimeoutMs);

  test('aws:ResourceTag follows the tags of the key at once', async () => {
    const key = await newKey(kms);
    const encrypt = () => outcome('www-data', 'Encrypt', { KeyId: key.id, Plaintext });
    expect(await encrypt()).toBe(denied);
    await kms.tagResource({ KeyId: key.id, Tags: [tag('Type', 'Ordinary')] });
    expect(await encrypt()).toBe('allowed');
    await kms.tagResource({ KeyId: key.id, Tags: [tag('Type', 'Reserved')] });
    expect(await encrypt()).toBe(denied);
    await kms.tagResource({ KeyId: key.id, Tags: [tag('Type', '')] });
    expect(await encrypt()).toBe('allowed');
    await kms.untagResource({ KeyId: key.id, TagKeys: ['Type'] });
    expect(await encrypt()).toBe(denied);
    const { KeyMetadata } = await kms.createKey({ Tags: [tag('Type', 'Ordinary')] });
    expect(await outcome('www-data', 'Encrypt', { KeyId: KeyMetadata?.KeyId, Plaintext })).toBe('allowed');
  });

  test('aws:TagKeys with ForAllValues lets a user put and take those tags and no others', async () => {
    const key = await newKey(kms);
    await kms.tagResource({ KeyId: key.id, Tags: [tag('Owner', 'root')] });
    const put = (...Tags: Tag[]) => outcome('nobody', 'TagResource', { KeyId: key.id, Tags });
    const take = (...TagKeys: string[]) => outcome('nobody', 'UntagResource', { KeyId: key.id, TagKeys });
    expect(await put(tag('Project', 'Alpha'))).toBe('allowed');
    expect(await put(tag('Owner', 'nobody'))).toBe(denied);
    expect(await put(tag('Project', 'Beta'), tag('Owner', 'nobody'))).toBe(denied);
    expect(await take('Owner')).toBe(denied);
    expect(await take('Project', 'Owner')).toBe(denied);
    expect((await kms.listResourceTags({ KeyId: key.id })).Tags).toEqual([
      tag('Owner', 'root'),
      tag('Project', 'Alpha'),
    ]);
    expect(await take('Project')).toBe('allowed');
    expect((await kms.listResourceTags({ KeyId: key.id })).Tags).toEqual([tag('Owner', 'root')]);
  });

  test('CreateKey with tags takes kms:TagResource for all keys too, as the guide grants it', async () => {
    expect(await outcome('daemon', 'CreateKey', { Tags: [tag('any', 'tag')] })).toBe('allowed');
    expect(await outcome('nobody', 'CreateKey', { Tags: [tag('Project', 'Alpha')] })).toBe('allowed');
    expect(await outcome('nobody', 'CreateKey', { Tags: [tag('Project', 'Alpha'), tag('Owner')] })).toBe(denied);
    expect(await outcome('nobody', 'CreateKey', {})).toBe('allowed');
    const refusedHere = await as('www-data').send('CreateKey', { Tags: [tag('Type', 'Ordinary')] });
    expect(refusedHere).toMatchObject({ ok: false, name: denied });
    expect(!refusedHere.ok && refusedHere.message).toContain(
      `User: ${unixUserArn('www-data')} is not authorized to perform: kms:TagResource`,
    );
    expect(await outcome('www-data', 'CreateKey', { Tags: [] })).toBe('allowed');
  });

  test('a permission on some keys alone is none to tag a key that is being made', async () => {
    const key = await newKey(kms);
    writeIdentityPolicy(
      folder,
      'tags.json',
      [unixUserArn('daemon')],
      may('kms:CreateKey'),
      may('kms:TagResource', key.arn),
    );
    const before = instance.log().length;
    process.kill(instance.pid, 'SIGHUP');
    await expect.poll(() => instance.log().slice(before)).toContain('the identity policies were read again');
    expect(await outcome('daemon', 'CreateKey', { Tags: [tag('any', 'tag')] })).toBe(denied);
    expect(await outcome('daemon', 'TagResource', { KeyId: key.id, Tags: [tag('any', 'tag')] })).toBe('allowed');
  });

  test('what CreateKey is on record for are keys, not patterns of keys', async () => {
    const { KeyMetadata, $metadata } = await kms.createKey({ Tags: [tag('a', '1')] });
    const event = present(auditLines(instance.dir).find(({ requestID }) => requestID === $metadata.requestId));
    expect(event.resources.map(({ ARN }) => ARN)).toEqual([KeyMetadata?.Arn]);
  });

  /** A key on which root may do everything that is not about tags, and what the statements say. */
  const keyWith = (...statements: readonly object[]) =>
    newKey(
      kms,
      policy(
        allow(rootArn, ['kms:Encrypt', 'kms:PutKeyPolicy', 'kms:ListResourceTags', 'kms:DescribeKey']),
        ...statements,
      ),
    );
  const mayTag = (Condition: object) => ({
    ...allow(rootArn, ['kms:TagResource', 'kms:UntagResource']),
    Condition,
  });

  test('a change of tags is decided by the tags as they are before it', async () => {
    const key = await keyWith(mayTag({ StringNotEquals: { 'aws:ResourceTag/locked': 'yes' } }));
    await kms.tagResource({ KeyId: key.id, Tags: [tag('locked', 'yes')] });
    const closed = accessDenied(rootArn, 'TagResource', key.arn, 'not-allowed');
    expect(await refusal(kms.tagResource({ KeyId: key.id, Tags: [tag('locked', 'no')] }))).toEqual(closed);
    expect(await refusal(kms.untagResource({ KeyId: key.id, TagKeys: ['locked'] }))).toEqual({
      ...closed,
      message: closed.message.replaceAll('TagResource', 'UntagResource'),
    });
    expect((await kms.listResourceTags({ KeyId: key.id })).Tags).toEqual([tag('locked', 'yes')]);
  });

  test('of many callers who would lock the key, only the first gets in', async () => {
    const key = await keyWith(mayTag({ Null: { 'aws:ResourceTag/owner': 'true' } }));
    const outcomes = await Promise.allSettled(
      Array.from({ length: 16 }, (_, index) => kms.tagResource({ KeyId: key.id, Tags: [tag('owner', String(index))] })),
    );
    const won = outcomes.findIndex(({ status }) => status === 'fulfilled');
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect((await kms.listResourceTags({ KeyId: key.id })).Tags).toEqual([tag('owner', String(won))]);
  });

  test('aws:RequestTag sees the values that are put, and none that are taken away', async () => {
    const key = await keyWith(mayTag({ StringLike: { 'aws:RequestTag/Stage': ['test', 'dev*'] } }));
    const put = async (...Tags: Tag[]) =>
      kms.tagResource({ KeyId: key.id, Tags }).then(
        () => 'allowed',
        ({ name }) => name,
      );
    expect(await put(tag('Stage', 'test'))).toBe('allowed');
    expect(await put(tag('Stage', 'dev-2'), tag('other'))).toBe('allowed');
    expect(await put(tag('Stage', 'prod'))).toBe(denied);
    expect(await put(tag('other', 'test'))).toBe(denied);
    expect((await refusal(kms.untagResource({ KeyId: key.id, TagKeys: ['Stage'] }))).name).toBe(denied);
  });

  test('aws:TagKeys with ForAnyValue needs one of them', async () => {
    const key = await keyWith(mayTag({ 'ForAnyValue:StringEquals': { 'aws:TagKeys': ['Project', 'Stage'] } }), {
      ...deny(rootArn, 'kms:TagResource'),
      Condition: { 'ForAnyValue:StringLike': { 'aws:TagKeys': 'secret-*' } },
    });
    await kms.tagResource({ KeyId: key.id, Tags: [tag('other'), tag('Stage')] });
    for (const Tags of [[tag('other')], [tag('Stage'), tag('secret-plan')], []]) {
      expect((await refusal(kms.tagResource({ KeyId: key.id, Tags }))).name).toBe(denied);
    }
    await kms.untagResource({ KeyId: key.id, TagKeys: ['other', 'Project'] });
    expect((await refusal(kms.untagResource({ KeyId: key.id, TagKeys: ['other'] }))).name).toBe(denied);
  });

  test('a tag named like a part of every object is a tag for policies too', async () => {
    const key = await keyWith(
      mayTag({ Null: { 'aws:ResourceTag/absent': 'true' } }),
      { ...deny(rootArn, 'kms:Encrypt'), Condition: { StringEquals: { 'aws:ResourceTag/__proto__': 'x' } } },
      { ...deny(rootArn, 'kms:Encrypt'), Condition: { Null: { 'aws:ResourceTag/constructor': 'false' } } },
    );
    await kms.encrypt({ KeyId: key.id, Plaintext });
    await kms.tagResource({ KeyId: key.id, Tags: [tag('__proto__', 'x')] });
    expect((await refusal(kms.encrypt({ KeyId: key.id, Plaintext }))).name).toBe(denied);
    await kms.untagResource({ KeyId: key.id, TagKeys: ['__proto__'] });
    await kms.encrypt({ KeyId: key.id, Plaintext });
    await kms.tagResource({ KeyId: key.id, Tags: [tag('constructor')] });
    expect((await refusal(kms.encrypt({ KeyId: key.id, Plaintext }))).name).toBe(denied);
  });

  test('kms:ScheduleKeyDeletionPendingWindowInDays bounds the waiting period that a caller may choose', async () => {
    const key = await keyWith({
      ...allow(rootArn, 'kms:ScheduleKeyDeletion'),
      Condition: { NumericGreaterThanEquals: { 'kms:ScheduleKeyDeletionPendingWindowInDays': '20' } },
    });
    const schedule = (PendingWindowInDays?: number) => kms.scheduleKeyDeletion({ KeyId: key.id, PendingWindowInDays });
    expect((await refusal(schedule(7))).name).toBe(denied);
    expect((await refusal(schedule(19))).name).toBe(denied);
    expect((await schedule(20)).PendingWindowInDays).toBe(20);
  });

  test.each([
    ['aws:RequestTag/foo of the request that makes it', { StringEquals: { 'aws:RequestTag/foo': 'bar' } }],
    ['aws:TagKeys of the request that makes it', { 'ForAnyValue:StringEquals': { 'aws:TagKeys': ['foo'] } }],
    ['that it lacks a tag which it gets', { StringNotEquals: { 'aws:ResourceTag/foo': 'bar' } }],
  ])('a key whose policy asks for %s would lock its maker out, and is not made', async (_what, condition) => {
    const told = await refusal(
      kms.createKey({
        Policy: policy({ ...allow(rootArn, 'kms:*'), Condition: condition }),
        Tags: [{ TagKey: 'foo', TagValue: 'bar' }],
      }),
    );
    expect(told).toMatchObject({ name: 'MalformedPolicyDocumentException' });
  });

  test('a key whose policy asks for a tag that it gets is made, and its policy can be put again', async () => {
    const document = policy({
      ...allow(rootArn, 'kms:*'),
      Condition: { StringEquals: { 'aws:ResourceTag/foo': 'bar' } },
    });
    const Tags = [{ TagKey: 'foo', TagValue: 'bar' }];
    const { KeyMetadata } = await kms.createKey({ Policy: document, Tags });
    await kms.putKeyPolicy({ KeyId: KeyMetadata?.KeyId, Policy: document });
  });
});
