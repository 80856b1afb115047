/** `DisableKeyRotation`: a KMS key is no longer rotated by itself. All material that it has stays. */

import { assertRotatable } from '../../keys/life/rotation.ts';
import { assertNoReplica } from '../../keys/multi-region.ts';
import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';

export const disableKeyRotation = operation({
  name: 'DisableKeyRotation',
  request: object({ KeyId: keyReference }),
  response: object({}),
  needs: {
    keys: {
      key: { action: 'kms:DisableKeyRotation', key: keyNamedBy('KeyId', 'keyOnly'), states: 'automaticRotation' },
    },
  },
  effect: 'changes',
  record: ['KeyId'],
  decide({ keys }) {
    assertRotatable(keys.key.key);
    assertNoReplica(keys.key.key);
    return { changes: [keys.key.with({ rotationPeriodDays: null, nextRotationDateMs: null })], response: {} };
  },
});
