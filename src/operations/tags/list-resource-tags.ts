/** `ListResourceTags`: the tags of a KMS key, ordered by their keys. */

import { SortedNames } from '../../keys/lists/sorted-names.ts';
import { keyNamedBy, keyReference, limit, marker } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { decodeMarker, pageEnd, pageSize, pagesOfTags } from '../declaration/pages.ts';
import { boolean, list, object, optional, string } from '../declaration/schema.ts';
import { tag } from '../declaration/tags.ts';

export const listResourceTags = operation({
  name: 'ListResourceTags',
  request: object({ KeyId: keyReference, Limit: limit, Marker: marker }),
  response: object({
    Tags: optional(list(tag)),
    NextMarker: optional(string()),
    Truncated: optional(boolean),
  }),
  needs: {
    keys: { key: { action: 'kms:ListResourceTags', key: keyNamedBy('KeyId', 'keyOnly'), states: 'reading' } },
  },
  effect: 'reads',
  record: ['KeyId', 'Limit', 'Marker'],
  async handle({ request, keys }) {
    const { keyId, tags } = keys.key.key.record;
    const listName = `ListResourceTags:${keyId}`;
    const names = new SortedNames<string>();
    for (const { TagKey } of tags) names.add(TagKey);
    const page = names.page(decodeMarker(listName, request.Marker), pageSize(request.Limit, pagesOfTags));
    const values = new Map(tags.map(({ TagKey, TagValue }) => [TagKey, TagValue]));
    return {
      Tags: page.names.map((TagKey) => ({ TagKey, TagValue: values.get(TagKey) ?? '' })),
      ...pageEnd(listName, page),
    };
  },
});
