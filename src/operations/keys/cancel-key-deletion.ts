/**
 * `CancelKeyDeletion`: a KMS key that is pending deletion stays, disabled, or waiting for its material where that was deleted or
 * was never imported; unless its destruction has begun.
 */

import { lacksMaterial } from '../../keys/imported-material.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { KmsError } from '../../kms/errors.ts';
import type { KeyState } from '../../kms/key-states.ts';
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
    return {
      changes: [keys.key.with({ state: stateOfKept(keys.key.key), deletionDateMs: null, deletionWindowDays: null })],
      response: { KeyId: arn },
    };
  },
});

/** EnableKey must not enable what has nothing to be used with. */
function stateOfKept(key: KmsKey): KeyState {
  return key.record.origin === 'EXTERNAL' && lacksMaterial(key) ? 'PendingImport' : 'Disabled';
}
