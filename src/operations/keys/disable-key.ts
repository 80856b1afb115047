/** `DisableKey`: keeps a KMS key from being used, until EnableKey. */

import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';

export const disableKey = operation({
  name: 'DisableKey',
  request: object({ KeyId: keyReference }),
  response: object({}),
  needs: {
    keys: {
      key: {
        action: 'kms:DisableKey',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['kms:TrailingDaysWithoutKeyUsage'],
        states: 'enabling',
      },
    },
  },
  effect: 'changes',
  revokes: true,
  record: ['KeyId'],
  decide: ({ keys }) => ({ changes: [keys.key.with({ state: 'Disabled' })], response: {} }),
});
