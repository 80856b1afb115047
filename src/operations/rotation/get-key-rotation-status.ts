/**
 * `GetKeyRotationStatus`: whether a key is rotated by itself, how often, and when next.
 *
 * Some keys never are: pairs, HMAC keys, keys with imported material, keys in a custom key store. Of all of these the answer is
 * `false` and no error, because Terraform and Ansible ask it of every key. A key that is pending deletion is not rotated, and
 * its answer is `false` until the deletion is cancelled; a disabled one is not either, and its answer stays what it was.
 *
 * `KeyId` is the key's ARN, whatever the request named it by: AWS was seen to answer so (November 2025), other than its examples.
 *
 * The schedule of a multi-Region key is that of its primary key, whichever Region is asked: while that is pending deletion, none of them is rotated.
 *
 * A rotation on demand is done when it is answered, so none is ever in progress: `OnDemandRotationStartDate` stays absent.
 */

import { primaryOf } from '../../keys/multi-region.ts';
import type { KeyRecord } from '../../store/records/records.ts';
import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { boolean, integer, object, optional, string, timestamp } from '../declaration/schema.ts';

export const getKeyRotationStatus = operation({
  name: 'GetKeyRotationStatus',
  request: object({ KeyId: keyReference }),
  response: object({
    KeyRotationEnabled: optional(boolean),
    KeyId: optional(string()),
    RotationPeriodInDays: optional(integer()),
    NextRotationDate: optional(timestamp),
    OnDemandRotationStartDate: optional(timestamp),
  }),
  needs: {
    keys: { key: { action: 'kms:GetKeyRotationStatus', key: keyNamedBy('KeyId', 'keyOnly'), states: 'reading' } },
  },
  effect: 'reads',
  record: ['KeyId'],
  async handle({ keys, directory }) {
    const { key } = keys.key;
    const primary = primaryOf(directory, key).record;
    return { KeyId: key.arn, ...(isPendingDeletion(key.record) ? never : scheduleOf(primary)) };
  },
});

const never = { KeyRotationEnabled: false } as const;

function isPendingDeletion({ state }: KeyRecord): boolean {
  return state === 'PendingDeletion' || state === 'PendingReplicaDeletion';
}

function scheduleOf(primary: KeyRecord) {
  const { rotationPeriodDays, nextRotationDateMs } = primary;
  if (isPendingDeletion(primary) || rotationPeriodDays === null || nextRotationDateMs === null) return never;
  return {
    KeyRotationEnabled: true,
    RotationPeriodInDays: rotationPeriodDays,
    NextRotationDate: new Date(nextRotationDateMs),
  };
}
