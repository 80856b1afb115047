/**
 * `UpdatePrimaryRegion`: a replica becomes the primary key, and the primary key a replica. All related keys say so in one moment:
 * their state is never `Updating`, in which they are on AWS for some seconds.
 *
 * The Region of the primary key has no replica key that could become it, and is refused.
 *
 * Source: AWS KMS API reference, `UpdatePrimaryRegion`: "There must be an existing replica key in this Region".
 */

import type { KmsKey } from '../../keys/kms-key.ts';
import { multiRegionKeyType, relatedKeys } from '../../keys/multi-region.ts';
import { KmsError } from '../../kms/errors.ts';
import { keyArn } from '../../kms/names.ts';
import { replaced } from '../../store/records/changes.ts';
import { keyNamedBy, keyReference, regionName } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { assertPrimary, regionOf } from './region-request.ts';

export const updatePrimaryRegion = operation({
  name: 'UpdatePrimaryRegion',
  request: object({ KeyId: keyReference, PrimaryRegion: regionName }),
  response: object({}),
  needs: {
    keys: {
      key: {
        action: 'kms:UpdatePrimaryRegion',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['kms:PrimaryRegion'],
        states: 'use',
      },
      replica: {
        action: 'kms:UpdatePrimaryRegion',
        key(request, directory) {
          const key = keyNamedBy('KeyId', 'keyOnly')(request, directory);
          const { record } = key;
          // What it is not says `decide`, to whom policies allow the operation; nobody has asked for a key elsewhere.
          if (multiRegionKeyType(record) !== 'PRIMARY') return key;
          const there = regionOf(directory, request.PrimaryRegion);
          const replica = there.findKey(record.keyId);
          if (replica !== undefined) return replica;
          throw new KmsError('NotFoundException', `Key '${keyArn(there.realm, record.keyId)}' does not exist`);
        },
        conditions: ['kms:PrimaryRegion'],
        states: 'use',
      },
    },
  },
  effect: 'changes',
  record: ['KeyId', 'PrimaryRegion'],
  // Source: AWS KMS developer guide, log entry of UpdatePrimaryRegion: one in each of the two Regions.
  elsewhere({ request: { PrimaryRegion }, keys }) {
    const { arn, record } = keys.replica.key;
    const request = { KeyId: arn, PrimaryRegion };
    return { region: record.region, operationName: 'UpdatePrimaryRegion', request, response: {}, resources: [] };
  },
  decide({ request: { PrimaryRegion: primaryRegion }, keys, directory }) {
    const { record } = keys.key.key;
    assertPrimary(keys.key.key);
    assertOtherRegion(keys.key.key, primaryRegion);
    // The schedule is that of all, and stands with the primary key.
    const { rotationPeriodDays, nextRotationDateMs } = record;
    const changes = relatedKeys(directory, record.keyId).map((key) =>
      replaced('key', key.record, {
        primaryRegion,
        ...(key.record.region === primaryRegion && { rotationPeriodDays, nextRotationDateMs }),
        ...(key.record.region === record.region && { rotationPeriodDays: null, nextRotationDateMs: null }),
      }),
    );
    return { changes, response: {} };
  },
});

/** @throws KmsError `UnsupportedOperationException` where the key of that Region is the primary key already. */
function assertOtherRegion({ arn, record: { region } }: KmsKey, primaryRegion: string): void {
  if (primaryRegion !== region) return;
  throw new KmsError(
    'UnsupportedOperationException',
    `${arn} is the primary key already: there is no replica key in the Region ${region}.`,
  );
}
