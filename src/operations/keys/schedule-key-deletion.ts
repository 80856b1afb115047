/**
 * `ScheduleKeyDeletion`: from now on a KMS key cannot be used, and after a waiting period it is deleted.
 *
 * A primary key with replicas waits for their deletion; its own waiting period begins when the last one is gone.
 *
 * The state changes, and with it all that can be done with the key; aliases, grants and material stay until the date comes. Then
 * upkeep destroys the material in the HSM, and the key goes with everything that belongs to it (`keys/life/key-deletion.ts`).
 */

import { customKeyStoreOnRecord } from '../../keys/custom-key-store.ts';
import { multiRegionKeyType, replicasOf } from '../../keys/multi-region.ts';
import { KmsError } from '../../kms/errors.ts';
import { type KeyState, keyStates } from '../../kms/key-states.ts';
import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { enumeration, integer, object, optional, string, timestamp } from '../declaration/schema.ts';

const defaultWindowDays = 30;
const minWindowDays = 7;
const maxWindowDays = 30;
const dayMs = 24 * 60 * 60 * 1000;

export const scheduleKeyDeletion = operation({
  name: 'ScheduleKeyDeletion',
  request: object({ KeyId: keyReference, PendingWindowInDays: optional(integer({ min: 1, max: 365 })) }),
  response: object({
    KeyId: optional(string()),
    DeletionDate: optional(timestamp),
    KeyState: optional(enumeration(keyStates)),
    PendingWindowInDays: optional(integer()),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:ScheduleKeyDeletion',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['kms:ScheduleKeyDeletionPendingWindowInDays', 'kms:TrailingDaysWithoutKeyUsage'],
        states: 'deletion',
      },
    },
  },
  effect: 'changes',
  revokes: true,
  record: ['KeyId', 'PendingWindowInDays'],
  recordResponse: ['KeyId', 'DeletionDate', 'KeyState', 'PendingWindowInDays'],
  decide({ request, keys, directory, nowMs, annotate }) {
    const windowDays = request.PendingWindowInDays ?? defaultWindowDays;
    // The service model takes 1 to 365 for the sake of other services; the operation does not.
    if (windowDays < minWindowDays || windowDays > maxWindowDays) {
      throw new KmsError(
        'ValidationException',
        `PendingWindowInDays must be between ${minWindowDays} and ${maxWindowDays}`,
      );
    }
    const { arn, record } = keys.key.key;
    const customKeyStore = customKeyStoreOnRecord(keys.key.key, directory.customKeyStores);
    if (customKeyStore !== undefined) annotate(customKeyStore);
    if (multiRegionKeyType(record) === 'PRIMARY' && replicasOf(directory, record.keyId).length > 0) {
      const state: KeyState = 'PendingReplicaDeletion';
      return {
        changes: [keys.key.with({ state, deletionWindowDays: windowDays })],
        response: { KeyId: arn, KeyState: state, PendingWindowInDays: windowDays },
      };
    }
    const deletionDateMs = nowMs + windowDays * dayMs;
    const state: KeyState = 'PendingDeletion';
    return {
      changes: [keys.key.with({ state, deletionDateMs })],
      response: {
        KeyId: arn,
        DeletionDate: new Date(deletionDateMs),
        KeyState: state,
        PendingWindowInDays: windowDays,
      },
    };
  },
});
