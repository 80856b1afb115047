/** TagResource, UntagResource, ListResourceTags, and the tags of CreateKey: what can be a tag, how many, and how they are listed. */

import type { Tag } from '@aws-sdk/client-kms';
import { beforeAll, expect, test } from 'vitest';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { invalid, problem, refusal, refused } from './support/refusals.ts';
import { call, callV1, errorIn, json } from './support/wire.ts';

const tag = (TagKey: string, TagValue = ''): Tag => ({ TagKey, TagValue });
const tags = (count: number, prefix = 'tag', value = 'v'): Tag[] =>
  Array.from({ length: count }, (_, index) => tag(`${prefix}-${String(index).padStart(4, '0')}`, value));
const names = (count: number, prefix = 'tag'): string[] => tags(count, prefix).map(({ TagKey }) => present(TagKey));

const tooMany = refused('TagException', 'Too many tags');
const duplicate = refused('TagException', 'Duplicate tag keys');
const reserved = refused('TagException', 'Tags beginning with aws: are reserved');
const badMarker = refused('InvalidMarkerException', 'Could not deserialize marker');

describeDaemon('Tags', (daemon) => {
  let other: { readonly id: string; readonly arn: string };
  beforeAll(async () => {
    other = await newKey(daemon().kms);
    await daemon().kms.tagResource({ KeyId: other.id, Tags: tags(3) });
  });
  const tagsOf = async (KeyId: string): Promise<Tag[]> => {
    const { Tags, Truncated, NextMarker } = await daemon().kms.listResourceTags({ KeyId });
    expect([Truncated, NextMarker]).toEqual([false, undefined]);
    return present(Tags);
  };
  const told = async (operation: string, body: object | string) =>
    errorIn(await call(daemon().socket, operation, body));

  test('are put, valued anew and taken away, by key id and key ARN, with nothing in the answer', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    expect(await tagsOf(key.id)).toEqual([]);
    const { $metadata: _, ...put } = await kms.tagResource({ KeyId: key.id, Tags: [tag('b', '2'), tag('a', '1')] });
    expect(put).toEqual({});
    await kms.tagResource({ KeyId: key.arn, Tags: [tag('b', 'two'), tag('c')] });
    expect(await tagsOf(key.arn)).toEqual([tag('a', '1'), tag('b', 'two'), tag('c', '')]);
    const { $metadata: __, ...taken } = await kms.untagResource({
      KeyId: key.arn,
      TagKeys: ['b', 'nowhere', 'a', 'a'],
    });
    expect(taken).toEqual({});
    expect(await tagsOf(key.id)).toEqual([tag('c', '')]);
    await kms.untagResource({ KeyId: key.id, TagKeys: ['nowhere'] });
    await kms.untagResource({ KeyId: key.id, TagKeys: ['c'] });
    expect(await tagsOf(key.id)).toEqual([]);
  });

  test('are those that CreateKey was given', async () => {
    const { kms } = daemon();
    const { KeyMetadata } = await kms.createKey({ Tags: [tag('Project', 'Alpha'), tag('empty')] });
    expect(JSON.stringify(KeyMetadata)).not.toContain('Alpha');
    expect(await tagsOf(present(KeyMetadata?.KeyId))).toEqual([tag('Project', 'Alpha'), tag('empty')]);
  });

  test('have names that are case-sensitive', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    await kms.tagResource({ KeyId: key.id, Tags: [tag('Name', '1'), tag('name', '2'), tag('NAME', '3')] });
    await kms.untagResource({ KeyId: key.id, TagKeys: ['name'] });
    expect(await tagsOf(key.id)).toEqual([tag('NAME', '3'), tag('Name', '1')]);
  });

  test.each([
    '__proto__',
    'constructor',
    'toString',
    'a b',
    '"quoted"',
    "'; DROP TABLE tags; --",
    'with\u0000NUL',
    'new\nline',
    '🔑',
    'schlüssel',
    '日本語',
    'a/b:c=d+e-f@g._h',
    'awsome',
    ' aws:',
    'k'.repeat(128),
  ])('can be named %j, and nothing else is changed by that', async (name) => {
    const { kms } = daemon();
    const key = await newKey(kms);
    await kms.tagResource({ KeyId: key.id, Tags: [tag('plain', 'p'), tag(name, name)] });
    const listed = await tagsOf(key.id);
    expect(listed).toHaveLength(2);
    expect(listed).toContainEqual(tag(name, name));
    await kms.untagResource({ KeyId: key.id, TagKeys: [name] });
    expect(await tagsOf(key.id)).toEqual([tag('plain', 'p')]);
  });

  test.each(['aws:', 'aws:x', 'AWS:x', 'Aws:cloudformation:stack-name'])('cannot be named %s', async (name) => {
    const { kms } = daemon();
    const key = await newKey(kms);
    const Tags = [tag('fine', '1'), tag(name, '2')];
    expect(await refusal(kms.tagResource({ KeyId: key.id, Tags }))).toEqual(reserved);
    expect(await tagsOf(key.id)).toEqual([]);
    expect(await refusal(kms.createKey({ Tags }))).toEqual(reserved);
  });

  test('have one value in a request', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    for (const Tags of [
      [tag('a', '1'), tag('a', '2')],
      [tag('a', '1'), tag('b'), tag('a', '1')],
    ]) {
      expect(await refusal(kms.tagResource({ KeyId: key.id, Tags }))).toEqual(duplicate);
      expect(await refusal(kms.createKey({ Tags }))).toEqual(duplicate);
    }
    expect(await tagsOf(key.id)).toEqual([]);
  });

  test('have a name of 1 to 128 characters and a value of up to 256, and what is longer is told whole', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    const fits = tag('k'.repeat(128), 'v'.repeat(256));
    await kms.tagResource({ KeyId: key.id, Tags: [fits] });
    expect(await tagsOf(key.id)).toEqual([fits]);
    const longKey = 'a'.repeat(129);
    const longValue = 'v'.repeat(257);
    const tooLong = (value: string, path: string, limit: number) =>
      invalid(
        `Value '${value}' at '${path}' failed to satisfy constraint: Member must have length less than or equal to ${limit}`,
      );
    for (const [Tag, expected] of [
      [tag(longKey), tooLong(longKey, 'tags.1.member.tagKey', 128)],
      [tag('k', longValue), tooLong(longValue, 'tags.1.member.tagValue', 256)],
      [tag(''), invalid(problem.tooShort('', 'tags.1.member.tagKey', 1))],
    ] as const) {
      expect(await refusal(kms.tagResource({ KeyId: key.id, Tags: [Tag] }))).toEqual(expected);
      expect(await refusal(kms.createKey({ Tags: [Tag] }))).toEqual(expected);
    }
    expect(await refusal(kms.untagResource({ KeyId: key.id, TagKeys: ['k', longKey] }))).toEqual(
      tooLong(longKey, 'tagKeys.2.member', 128),
    );
    expect(await tagsOf(key.id)).toEqual([fits]);
  });

  test('have a name and a value', async () => {
    expect(await told('TagResource', { KeyId: other.id, Tags: [{ TagKey: 'a' }, { TagValue: 'b' }] })).toEqual(
      invalid(problem.missing('tags.1.member.tagValue'), problem.missing('tags.2.member.tagKey')),
    );
    for (const Tags of ['a', [7], [null], { TagKey: 'a', TagValue: '1' }, [{ TagKey: 1, TagValue: '1' }], [['a']]]) {
      expect((await told('TagResource', { KeyId: other.id, Tags })).name).toBe('SerializationException');
    }
    for (const TagKeys of ['a', [7], [null], [{ TagKey: 'a' }]]) {
      expect((await told('UntagResource', { KeyId: other.id, TagKeys })).name).toBe('SerializationException');
    }
    const lone = `{"KeyId":"${other.id}","Tags":[{"TagKey":"\\ud800","TagValue":""}]}`;
    expect((await told('TagResource', lone)).name).toBe('SerializationException');
    expect(await tagsOf(other.id)).toEqual(tags(3));
  });

  test('can be 50 on a key: 51 in one request are too many', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    expect(await refusal(kms.tagResource({ KeyId: key.id, Tags: tags(51) }))).toEqual(tooMany);
    expect(await refusal(kms.createKey({ Tags: tags(51) }))).toEqual(tooMany);
    expect(await tagsOf(key.id)).toEqual([]);
    const { KeyMetadata } = await kms.createKey({ Tags: tags(50) });
    expect(await tagsOf(present(KeyMetadata?.KeyId))).toEqual(tags(50));
  });

  test('can be 50 on a key: a further one is refused, a new value is not, and one that goes makes room', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    await kms.tagResource({ KeyId: key.id, Tags: tags(30) });
    expect(await refusal(kms.tagResource({ KeyId: key.id, Tags: tags(21, 'more') }))).toEqual(tooMany);
    expect(await tagsOf(key.id)).toEqual(tags(30));
    await kms.tagResource({ KeyId: key.id, Tags: tags(50) });
    expect(await refusal(kms.tagResource({ KeyId: key.id, Tags: [tag('tag-0007', 'new'), tag('x')] }))).toEqual(
      tooMany,
    );
    expect(await tagsOf(key.id)).toEqual(tags(50));
    await kms.tagResource({ KeyId: key.id, Tags: tags(50, 'tag', 'new') });
    expect(await tagsOf(key.id)).toEqual(tags(50, 'tag', 'new'));
    await kms.untagResource({ KeyId: key.id, TagKeys: ['tag-0000'] });
    await kms.tagResource({ KeyId: key.id, Tags: [tag('x')] });
    expect(await tagsOf(key.id)).toHaveLength(50);
    await kms.untagResource({ KeyId: key.id, TagKeys: [...names(50), ...names(50), 'x'] });
    expect(await tagsOf(key.id)).toEqual([]);
  });

  test('of the largest size, 50 of them, are kept; one more, 10,000 and more than a request holds are refused', async () => {
    const { kms, socket } = daemon();
    const key = await newKey(kms);
    const large = (count: number) =>
      Array.from({ length: count }, (_, index) => tag(`${'🔑'.repeat(62)}${index + 1000}`, '€'.repeat(256)));
    await kms.tagResource({ KeyId: key.id, Tags: large(50) });
    expect(await tagsOf(key.id)).toEqual(large(50));
    expect(await refusal(kms.tagResource({ KeyId: key.id, Tags: large(51) }))).toEqual(tooMany);
    const tenThousand = Array.from({ length: 10_000 }, (_, index) => ({ TagKey: `${index}`, TagValue: '' }));
    const crowd = await call(socket, 'TagResource', { KeyId: key.id, Tags: tenThousand.slice(0, 8_000) });
    expect(errorIn(crowd)).toEqual(tooMany);
    const flood = await call(socket, 'TagResource', { KeyId: key.id, Tags: [...tenThousand, ...tenThousand] });
    expect(errorIn(flood).name).toBe('RequestEntityTooLargeException');
    expect(await tagsOf(key.id)).toEqual(large(50));
  });

  test('are listed in pages, in one order, each once', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    await kms.tagResource({ KeyId: key.id, Tags: tags(50).toReversed() });
    for (const Limit of [1, 7, 49, 50, 51, 1000]) {
      const listed: Tag[] = [];
      let Marker: string | undefined;
      do {
        const page = await kms.listResourceTags({ KeyId: key.id, Limit, Marker });
        expect(present(page.Tags).length).toBeLessThanOrEqual(Math.min(Limit, 50));
        expect(page.Truncated).toBe(page.NextMarker !== undefined);
        listed.push(...present(page.Tags));
        Marker = page.NextMarker;
      } while (Marker !== undefined);
      expect(listed).toEqual(tags(50));
    }
  });

  test('are listed from behind the marker, whatever has become of the tag that it stands for', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    await kms.tagResource({ KeyId: key.id, Tags: tags(6) });
    const { NextMarker } = await kms.listResourceTags({ KeyId: key.id, Limit: 3 });
    await kms.untagResource({ KeyId: key.id, TagKeys: ['tag-0002', 'tag-0004'] });
    await kms.tagResource({ KeyId: key.id, Tags: [tag('tag-0003', 'new'), tag('a-first-one')] });
    const { Tags } = await kms.listResourceTags({ KeyId: key.id, Marker: NextMarker });
    expect(Tags).toEqual([tag('tag-0003', 'new'), tag('tag-0005', 'v')]);
  });

  test('are not listed by the marker of another key, of another list or of nobody', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    await kms.tagResource({ KeyId: key.id, Tags: tags(2) });
    const { NextMarker: ofOther } = await kms.listResourceTags({ KeyId: other.id, Limit: 1 });
    const { NextMarker: ofKeys } = await kms.listKeys({ Limit: 1 });
    for (const Marker of [present(ofOther), present(ofKeys), 'made up', Buffer.from('x').toString('base64url')]) {
      expect(await refusal(kms.listResourceTags({ KeyId: key.id, Marker }))).toEqual(badMarker);
    }
    const { NextMarker } = await kms.listResourceTags({ KeyId: key.id, Limit: 1 });
    expect(await refusal(kms.listKeys({ Marker: NextMarker }))).toEqual(badMarker);
    expect(await refusal(kms.listResourceTags({ KeyId: key.id, Marker: '' }))).toEqual(
      invalid(problem.tooShort('', 'marker', 1)),
    );
    for (const [Limit, expected] of [
      [0, invalid(problem.tooSmall(0, 'limit', 1))],
      [1001, invalid(problem.tooLarge(1001, 'limit', 1000))],
    ] as const) {
      expect(await refusal(kms.listResourceTags({ KeyId: key.id, Limit }))).toEqual(expected);
    }
  });

  test('of an empty list are no tags', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    await kms.tagResource({ KeyId: key.id, Tags: tags(2) });
    await kms.tagResource({ KeyId: key.id, Tags: [] });
    await kms.untagResource({ KeyId: key.id, TagKeys: [] });
    expect(await tagsOf(key.id)).toEqual(tags(2));
  });

  test('that two callers put at once are both there', async () => {
    const { kms } = daemon();
    const key = await newKey(kms);
    await Promise.all(tags(50).map((each) => kms.tagResource({ KeyId: key.id, Tags: [each] })));
    expect(await tagsOf(key.id)).toEqual(tags(50));
    const outcomes = await Promise.allSettled([
      ...names(50).map((name) => kms.untagResource({ KeyId: key.id, TagKeys: [name] })),
      ...tags(10, 'x').map((each) => kms.tagResource({ KeyId: key.id, Tags: [each] })),
      kms.updateKeyDescription({ KeyId: key.id, Description: 'in between' }),
      kms.disableKey({ KeyId: key.id }),
    ]);
    const came = tags(10, 'x').filter((_, index) => outcomes[50 + index]?.status === 'fulfilled');
    expect(await tagsOf(key.id)).toEqual(came);
    const { KeyMetadata } = await kms.describeKey({ KeyId: key.id });
    expect(KeyMetadata).toMatchObject({ Description: 'in between', KeyState: 'Disabled' });
  });

  test('are the same on the wire for curl, which says of members that it does not know', async () => {
    const { kms, socket } = daemon();
    const key = await newKey(kms);
    const put = await callV1(socket, 'TagResource', { KeyId: key.id, Tags: [tag('a', '1')] });
    expect([put.status, json(put)]).toEqual([200, {}]);
    const listed = await callV1(socket, 'ListResourceTags', { KeyId: key.id });
    expect(json(listed)).toEqual({ Tags: [{ TagKey: 'a', TagValue: '1' }], Truncated: false });
    const wrong = await callV1(socket, 'TagResource', { KeyId: key.id, Tags: [{ Key: 'b', Value: '2' }] });
    expect(wrong.status).toBe(400);
    expect(await tagsOf(key.id)).toEqual([tag('a', '1')]);
  });
});
