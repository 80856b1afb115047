/** `CancelKeyDeletion`: a KMS key that is pending deletion stays, disabled. */

import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object, optional, string } from '../declaration/schema.ts';

export const cancelKeyDeletion = operation({
  name: 'CancelKeyDeletion',
  request: object({ KeyId: keyReference }),
  response: object({ KeyId: optional(string()) }),
  needs: {
    keys: {
      key: { action: 'kms:CancelKeyDeletion', key: keyNamedBy('KeyId', 'keyOnly'), states: 'deletionCancelling' },
    },
  },
  effect: 'changes',
  record: ['KeyId'],
  recordResponse: ['KeyId'],
  decide: ({ keys }) => ({
    changes: [keys.key.with({ state: 'Disabled', deletionDateMs: null })],
    response: { KeyId: keys.key.key.arn },
  }),
});
