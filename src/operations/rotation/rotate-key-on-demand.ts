/**
 * `RotateKeyOnDemand`: a KMS key gets new current material now, whether it is rotated by itself or not.
 *
 * When it is answered the rotation is done. It changes nothing about the dates of automatic rotations, and is refused when one
 * of those is about to happen or happening: until it has happened its date is that of the key, or before now.
 */

import { pendingRotationOf } from '../../keys/imported-material.ts';
import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { assertRotatable, maxOnDemandRotations, onDemandRotations, type Rotation } from '../../keys/life/rotation.ts';
import { assertNoReplica, isThereInAll, relatedKeys } from '../../keys/multi-region.ts';
import { KmsError } from '../../kms/errors.ts';
import { type Change, replaced } from '../../store/records/changes.ts';
import { keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object, optional, string } from '../declaration/schema.ts';

/** Source: AWS KMS API reference, RotateKeyOnDemand, ConflictException. */
const reservedForAutomaticMs = 20 * 60 * 1000;

export const rotateKeyOnDemand = operation({
  name: 'RotateKeyOnDemand',
  request: object({ KeyId: keyReference }),
  response: object({ KeyId: optional(string()) }),
  needs: {
    keys: {
      key: { action: 'kms:RotateKeyOnDemand', key: keyNamedBy('KeyId', 'keyOnly'), states: 'rotationOnDemand' },
    },
  },
  effect: 'changes',
  generates: true,
  record: ['KeyId'],
  recordResponse: ['KeyId'],
  async prepare({ keys, life }) {
    const { record } = keys.key.key;
    assertRotatable(keys.key.key);
    assertNoReplica(keys.key.key);
    // The next material of a key whose material is imported is imported as well.
    if (record.origin === 'EXTERNAL') return undefined;
    return life.prepareRotation(record.keyId, (key) => {
      assertOneMoreIsAllowed(key, Date.now());
      return true;
    });
  },
  decide({ keys, prepared, directory, nowMs }) {
    const { key } = keys.key;
    assertOneMoreIsAllowed(key, nowMs);
    const rotation = { rotationType: 'ON_DEMAND', rotatedAtMs: nowMs } as const;
    const changes = prepared?.changes(key, rotation) ?? toImportedMaterial(key, rotation, directory);
    return { changes, response: { KeyId: key.arn } };
  },
  async conclude({ prepared }) {
    prepared?.settle();
  },
});

/**
 * @throws KmsError `ConflictException` while an automatic rotation of the key is due within 20 minutes or being done, and
 * `LimitExceededException` when the key had as many rotations on demand as a key can have.
 */
function assertOneMoreIsAllowed(key: KmsKey, nowMs: number): void {
  const { arn, record } = key;
  if (record.nextRotationDateMs !== null && record.nextRotationDateMs <= nowMs + reservedForAutomaticMs) {
    throw new KmsError(
      'ConflictException',
      `An automatic rotation of ${arn} is in progress or scheduled to begin within the next 20 minutes.`,
    );
  }
  if (onDemandRotations(key) >= maxOnDemandRotations) {
    throw new KmsError(
      'LimitExceededException',
      `The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: ${arn}`,
    );
  }
}

/**
 * @throws KmsError `KMSInvalidStateException` when there is no material to which the key was not rotated yet, or one of its replicas waits
 * for it.
 */
function toImportedMaterial(key: KmsKey, rotation: Rotation, directory: KeyView): readonly Change[] {
  const pending = pendingRotationOf(key);
  const related = relatedKeys(directory, key.record.keyId);
  if (pending === undefined || !isThereInAll(directory, related, pending)) {
    throw new KmsError(
      'KMSInvalidStateException',
      `No available key material pending rotation for the key: ${key.arn}.`,
    );
  }
  const { backingKeyId: currentBackingKeyId } = pending;
  return related.flatMap(({ record, materials }) => [
    ...materials
      .filter(({ backingKeyId }) => backingKeyId === currentBackingKeyId)
      .map((material) => replaced('backingKey', material, rotation)),
    replaced('key', record, { currentBackingKeyId }),
  ]);
}
