/**
 * What a rotation is: a KMS key gets new current material, and keeps all that it had.
 *
 * The same whatever the cause: its date has come, somebody demands it, or the numbers of the current material are used up. New
 * material is in the HSM, under an intent, before the turn; one change of the turn makes it `Active` with the kind and the
 * moment of the rotation, another one, of the key, names it as the current one. They are written together, so a rotation is
 * whole or not there. Ciphertexts name their material, so what older material encrypted is decrypted as before.
 *
 * Only its date moves the schedule. Rotations on demand are counted, by what is on record of the material; no others are.
 *
 * Source: AWS KMS developer guide, "Rotate AWS KMS keys"; API reference of the operations.
 */

import { KmsError } from '../../kms/errors.ts';
import { stateRefusal } from '../../kms/key-states.ts';
import type { BackingKeyId } from '../../kms/names.ts';
import type { BackingKeyRecord, KeyRecord } from '../../store/records/records.ts';
import type { KmsKey } from '../kms-key.ts';

const dayMs = 24 * 60 * 60 * 1000;

/** In the life of a key. */
export const maxOnDemandRotations = 25;

/** How and when material became the current one. */
export interface Rotation {
  readonly rotationType: 'AUTOMATIC' | 'ON_DEMAND';
  readonly rotatedAtMs: number;
}

/** A rotation that is to be written. */
export interface NewRotation extends Rotation {
  /** Of one whose date has come: the next one. */
  readonly nextRotationDateMs?: number;
}

/**
 * Only symmetric encryption keys rotate: nothing else says in what it made which material it was made with.
 * @throws KmsError `UnsupportedOperationException`, without a message, as AWS answers.
 */
export function assertRotatable({ record }: Pick<KmsKey, 'record'>): void {
  if (record.keySpec !== 'SYMMETRIC_DEFAULT') throw new KmsError('UnsupportedOperationException', '');
}

/**
 * Is the key of a kind that AWS KMS rotates, by itself or on demand? One in a custom key store is not; here it is all the same, where the numbers
 * of its material are used up.
 */
export function isRotatedInAws({ origin, keySpec }: Pick<KeyRecord, 'origin' | 'keySpec'>): boolean {
  return keySpec === 'SYMMETRIC_DEFAULT' && origin !== 'AWS_CLOUDHSM';
}

/** Can new material for the key be generated here? What is imported, its owner imports. */
export function rotatesByItself({ origin, keySpec }: Pick<KeyRecord, 'origin' | 'keySpec'>): boolean {
  return origin !== 'EXTERNAL' && keySpec === 'SYMMETRIC_DEFAULT';
}

/**
 * How a key got this material; `undefined` for its first, and for what is imported and waits to become current. Versions that
 * did not put it on record rotated keys whose numbers were used up, as soon as the new material was there, and no others.
 */
export function rotationOf({ record }: Pick<KmsKey, 'record'>, material: BackingKeyRecord): Rotation | undefined {
  const { rotationType, rotatedAtMs, ordinal, createdAtMs } = material;
  if (rotationType !== null && rotatedAtMs !== null) return { rotationType, rotatedAtMs };
  if (ordinal === 1 || record.origin !== 'AWS_KMS') return undefined;
  return { rotationType: 'AUTOMATIC', rotatedAtMs: createdAtMs };
}

export function onDemandRotations({ materials }: Pick<KmsKey, 'materials'>): number {
  return materials.filter(({ rotationType }) => rotationType === 'ON_DEMAND').length;
}

/** When a key whose automatic rotation is enabled now is rotated for the first time. */
export function firstRotationDateMs(nowMs: number, periodDays: number): number {
  return nowMs + periodDays * dayMs;
}

/** The date after one that has come. What was missed, while the key was disabled or the daemon off, is not made up for. */
export function followingRotationDateMs(dateMs: number, periodDays: number, nowMs: number): number {
  const periodMs = periodDays * dayMs;
  const missed = Math.max(0, Math.floor((nowMs - dateMs) / periodMs));
  return dateMs + (missed + 1) * periodMs;
}

/**
 * The rotation that the key's schedule asks for, if that is still the one of this date and the key is in use. A key that is
 * disabled or pending deletion is not rotated; when it comes back after its date, the date has passed and it is due at once.
 * @param dateMs The date that has come.
 */
export function rotationDue(
  { record }: Pick<KmsKey, 'record'>,
  dateMs: number,
  nowMs: number,
): NewRotation | undefined {
  const { state, rotationPeriodDays, nextRotationDateMs } = record;
  if (state !== 'Enabled' || rotationPeriodDays === null || nextRotationDateMs !== dateMs) return undefined;
  return {
    rotationType: 'AUTOMATIC',
    rotatedAtMs: nowMs,
    nextRotationDateMs: followingRotationDateMs(dateMs, rotationPeriodDays, nowMs),
  };
}

/**
 * The rotation that a key needs whose current material has no numbers left; `undefined` where other material is current.
 * @throws KmsError what AWS answers to the use of a key in its state: whoever waits for a number must not use a key that was
 * disabled meanwhile. `KMSInvalidStateException` for a key whose material is imported: that Encrypt can be refused with it is
 * documented, and no other error would tell what has to be done.
 */
export function replacementOf({ arn, record, state }: KmsKey, exhausted: BackingKeyId): NewRotation | undefined {
  const refusal = stateRefusal('use', { arn, state, origin: record.origin });
  if (refusal !== undefined) throw refusal;
  if (record.currentBackingKeyId !== exhausted) return undefined;
  if (!rotatesByItself(record)) {
    throw new KmsError(
      'KMSInvalidStateException',
      `${arn} has encrypted as often as its key material allows. Import new key material and rotate the key on demand.`,
    );
  }
  return { rotationType: 'AUTOMATIC', rotatedAtMs: Date.now() };
}
