/**
 * Tags: what a request may say of them, and AWS's words where it may not.
 *
 * Keys and values are case-sensitive; a key has one value. Tags can give and take permissions (`aws:ResourceTag`), so a
 * change of them is in force as soon as it is answered.
 *
 * Source: AWS KMS API reference, TagResource, UntagResource, CreateKey; the texts as AWS was recorded to answer.
 */

import { KmsError } from '../../kms/errors.ts';
import { list, object, string } from './schema.ts';

export const tagKey = string({ min: 1, max: 128 });
export const tag = object({ TagKey: tagKey, TagValue: string({ min: 0, max: 256 }) });
export const tagList = list(tag);

interface Tag {
  readonly TagKey: string;
  readonly TagValue: string;
}

/** AWS's quota: tags for each KMS key. */
const maxTagsPerKey = 50;

/**
 * The tags that a request brings.
 * @throws KmsError `TagException`.
 */
export function checkedTags(tags: readonly Tag[]): readonly Tag[] {
  if (tags.length > maxTagsPerKey) throw tooMany();
  if (tags.some(({ TagKey }) => TagKey.toLowerCase().startsWith('aws:'))) {
    throw new KmsError('TagException', 'Tags beginning with aws: are reserved');
  }
  if (new Set(tags.map(({ TagKey }) => TagKey)).size < tags.length) {
    throw new KmsError('TagException', 'Duplicate tag keys');
  }
  return tags;
}

/**
 * What a key has with these put to it: a tag that it has already keeps its place and gets the new value.
 * @throws KmsError `TagException`.
 */
export function withTags(before: readonly Tag[], put: readonly Tag[]): readonly Tag[] {
  const tags = new Map([...before, ...checkedTags(put)].map(({ TagKey, TagValue }) => [TagKey, TagValue]));
  if (tags.size > maxTagsPerKey) throw tooMany();
  return [...tags].map(([TagKey, TagValue]) => ({ TagKey, TagValue }));
}

function tooMany(): KmsError {
  return new KmsError('TagException', 'Too many tags');
}
