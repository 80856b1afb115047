/**
 * `GetKeyRotationStatus`: whether a key is rotated by itself.
 *
 * No key is yet, and some never can be: pairs, HMAC keys, keys with imported material, keys in a custom key store. Of all of
 * these, and of a key that is pending deletion, the answer is `false` and no error, because Terraform and Ansible ask it of
 * every key.
 */

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
  handle: async ({ keys }) => ({ KeyRotationEnabled: false, KeyId: keys.key.key.record.keyId }),
});
