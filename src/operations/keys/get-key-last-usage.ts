/**
 * `GetKeyLastUsage`: the last successful cryptographic use of a KMS key, with the request and the event in the audit log that tell
 * of it.
 *
 * A use counts from the moment that its event is on record; refused requests, dry runs and GetPublicKey are no uses.
 */

import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { enumeration, object, optional, string, timestamp } from '../declaration/schema.ts';

/** In AWS's order. */
const trackedOperations = [
  'Decrypt',
  'DeriveSharedSecret',
  'Encrypt',
  'GenerateDataKey',
  'GenerateDataKeyPair',
  'GenerateDataKeyPairWithoutPlaintext',
  'GenerateDataKeyWithoutPlaintext',
  'GenerateMac',
  'ReEncrypt',
  'Sign',
  'Verify',
  'VerifyMac',
  'Encapsulate',
  'Decapsulate',
] as const;

export const getKeyLastUsage = operation({
  name: 'GetKeyLastUsage',
  request: object({ KeyId: keyReference }),
  response: object({
    KeyId: optional(string()),
    KeyLastUsage: optional(
      object({
        Operation: optional(enumeration(trackedOperations)),
        Timestamp: optional(timestamp),
        CloudTrailEventId: optional(string()),
        KmsRequestId: optional(string()),
      }),
    ),
    TrackingStartDate: optional(timestamp),
    KeyCreationDate: optional(timestamp),
  }),
  needs: {
    keys: { key: { action: 'kms:GetKeyLastUsage', key: keyNamedBy('KeyId', 'keyOnly'), states: 'reading' } },
  },
  effect: 'reads',
  record: ['KeyId'],
  async handle({ keys, directory: { lastUses } }) {
    const { record } = keys.key.key;
    const use = lastUses.of(record.keyId);
    return {
      KeyId: record.keyId,
      KeyLastUsage:
        use === undefined
          ? {}
          : {
              Operation: trackedOperations.find((name) => name === use.operation),
              Timestamp: new Date(use.usedAtMs),
              CloudTrailEventId: use.eventId,
              KmsRequestId: use.requestId,
            },
      TrackingStartDate: new Date(lastUses.trackedSinceMs(record)),
      KeyCreationDate: new Date(record.createdAtMs),
    };
  },
});
