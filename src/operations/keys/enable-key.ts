/** `EnableKey`: lets a KMS key be used again. */

import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';

export const enableKey = operation({
  name: 'EnableKey',
  request: object({ KeyId: keyReference }),
  response: object({}),
  needs: { keys: { key: { action: 'kms:EnableKey', key: keyNamedBy('KeyId', 'keyOnly'), states: 'enabling' } } },
  effect: 'changes',
  record: ['KeyId'],
  decide: ({ keys }) => ({ changes: [keys.key.with({ state: 'Enabled' })], response: {} }),
});
