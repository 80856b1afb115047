/** `UntagResource`: takes tags off a KMS key. One that it does not have is no error. */

import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { list, object } from '../declaration/schema.ts';
import { tagKey } from '../declaration/tags.ts';

export const untagResource = operation({
  name: 'UntagResource',
  request: object({ KeyId: keyReference, TagKeys: list(tagKey) }),
  response: object({}),
  needs: {
    keys: {
      key: {
        action: 'kms:UntagResource',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['aws:TagKeys'],
        states: 'administration',
      },
    },
  },
  effect: 'changes',
  record: ['KeyId', 'TagKeys'],
  decide({ request, keys }) {
    const taken = new Set(request.TagKeys);
    const tags = keys.key.key.record.tags.filter(({ TagKey }) => !taken.has(TagKey));
    return { changes: [keys.key.with({ tags })], response: {} };
  },
});
