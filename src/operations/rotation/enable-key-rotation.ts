/**
 * `EnableKeyRotation`: from now on a KMS key is rotated by itself, the first time one period after this request.
 *
 * Of a key that is rotated by itself already it changes the period, and the new one begins now as well. A request that changes
 * nothing leaves the date where it is: whoever makes sure every day that rotation is enabled must not put it off for ever.
 */

import { assertRotatable, firstRotationDateMs } from '../../keys/life/rotation.ts';
import { assertNoReplica } from '../../keys/multi-region.ts';
import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { integer, object, optional } from '../declaration/schema.ts';

const minPeriodDays = 90;
const maxPeriodDays = 2560;
const defaultPeriodDays = 365;

export const enableKeyRotation = operation({
  name: 'EnableKeyRotation',
  request: object({
    KeyId: keyReference,
    RotationPeriodInDays: optional(integer({ min: minPeriodDays, max: maxPeriodDays })),
  }),
  response: object({}),
  needs: {
    keys: {
      key: {
        action: 'kms:EnableKeyRotation',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['kms:RotationPeriodInDays'],
        states: 'automaticRotation',
      },
    },
  },
  effect: 'changes',
  record: ['KeyId', 'RotationPeriodInDays'],
  decide({ request, keys, nowMs }) {
    assertRotatable(keys.key.key);
    assertNoReplica(keys.key.key);
    const rotationPeriodDays = request.RotationPeriodInDays ?? defaultPeriodDays;
    if (keys.key.key.record.rotationPeriodDays === rotationPeriodDays) return { changes: [], response: {} };
    const nextRotationDateMs = firstRotationDateMs(nowMs, rotationPeriodDays);
    return { changes: [keys.key.with({ rotationPeriodDays, nextRotationDateMs })], response: {} };
  },
});
