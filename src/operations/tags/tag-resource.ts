/** `TagResource`: puts tags on a KMS key, and other values to the tags that it has. */

import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { tagList, withTags } from '../declaration/tags.ts';

export const tagResource = operation({
  name: 'TagResource',
  request: object({ KeyId: keyReference, Tags: tagList }),
  response: object({}),
  needs: {
    keys: {
      key: {
        action: 'kms:TagResource',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['aws:RequestTag', 'aws:TagKeys'],
        states: 'administration',
      },
    },
  },
  effect: 'changes',
  record: ['KeyId', 'Tags'],
  decide: ({ request, keys }) => ({
    changes: [keys.key.with({ tags: withTags(keys.key.key.record.tags, request.Tags) })],
    response: {},
  }),
});
