/** `UpdateKeyDescription`: another description for a KMS key. */

import { keyDescription, keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';

export const updateKeyDescription = operation({
  name: 'UpdateKeyDescription',
  request: object({ KeyId: keyReference, Description: keyDescription }),
  response: object({}),
  needs: {
    keys: {
      key: { action: 'kms:UpdateKeyDescription', key: keyNamedBy('KeyId', 'keyOnly'), states: 'administration' },
    },
  },
  effect: 'changes',
  record: ['KeyId', 'Description'],
  decide: ({ request, keys }) => ({
    changes: [keys.key.with({ description: request.Description })],
    response: {},
  }),
});
