/** `CancelKeyDeletion`: a KMS key that is pending deletion stays, disabled; unless its destruction has begun. */

import { KmsError } from '../../kms/errors.ts';
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
  decide({ keys, directory }) {
    const { arn, record } = keys.key.key;
    if (directory.tombstones.has(record.keyId)) {
      throw new KmsError('KMSInvalidStateException', `${arn} is being deleted: its waiting period is over.`);
    }
    return { changes: [keys.key.with({ state: 'Disabled', deletionDateMs: null })], response: { KeyId: arn } };
  },
});
