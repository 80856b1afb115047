/** The dates of automatic rotations, as pure rules. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { KmsKey } from '../../src/keys/kms-key.ts';
import { followingRotationDateMs, rotationDue, rotationOf } from '../../src/keys/life/rotation.ts';
import type { KeyState } from '../../src/kms/key-states.ts';
import { examples } from '../store/records.ts';

const dayMs = 24 * 60 * 60 * 1000;
const april14 = Date.UTC(2024, 3, 14);

describe('The date after a rotation', () => {
  test.each([
    ['at the very moment', 0, 730],
    ['some days late', 9, 730],
    ['one day before the next', 729, 730],
    ['when the next has come too', 730, 1460],
    ['when two were missed', 1461, 2190],
    ['by a clock that was set back meanwhile', -3, 730],
  ])(
    'is, of a key that is rotated every 730 days, %s, a whole number of periods after the last',
    (_, lateDays, days) => {
      expect(followingRotationDateMs(april14, 730, april14 + lateDays * dayMs)).toBe(april14 + days * dayMs);
    },
  );

  test('is always after now, less than a period away, and a whole number of periods after the last', () => {
    const period = fc.integer({ min: 90, max: 2560 });
    const lateMs = fc.integer({ min: 0, max: 100 * 365 * dayMs });
    fc.assert(
      fc.property(period, lateMs, (days, late) => {
        const nowMs = april14 + late;
        const next = followingRotationDateMs(april14, days, nowMs);
        expect(next).toBeGreaterThan(nowMs);
        expect(next - nowMs).toBeLessThanOrEqual(days * dayMs);
        expect((next - april14) % (days * dayMs)).toBe(0);
      }),
    );
  });
});

describe('A key whose date has come', () => {
  const keyIn = (state: KeyState, rotationPeriodDays: number | null = 365): Pick<KmsKey, 'record'> => ({
    record: {
      ...examples.key,
      state,
      rotationPeriodDays,
      nextRotationDateMs: rotationPeriodDays === null ? null : april14,
      primaryRegion: '',
      deletionWindowDays: null,
    },
  });

  test('is rotated, and its next date is a period later', () => {
    expect(rotationDue(keyIn('Enabled'), april14, april14 + 5)).toEqual({
      rotationType: 'AUTOMATIC',
      rotatedAtMs: april14 + 5,
      nextRotationDateMs: april14 + 365 * dayMs,
    });
  });

  test.each(['Disabled', 'PendingDeletion', 'PendingReplicaDeletion', 'Unavailable'] as const)(
    'is not rotated while it is %s',
    (state) => {
      expect(rotationDue(keyIn(state), april14, april14)).toBeUndefined();
    },
  );

  test('is not rotated when its schedule is another one by now, or none', () => {
    expect(rotationDue(keyIn('Enabled'), april14 - 1, april14)).toBeUndefined();
    expect(rotationDue(keyIn('Enabled', null), april14, april14)).toBeUndefined();
  });
});

test('Material that a former version rotated to is told as rotated automatically when it was made', () => {
  const key = { record: { ...examples.key, origin: 'AWS_KMS' as const } };
  const older = { ...examples.backingKey, rotationType: null, rotatedAtMs: null, createdAtMs: april14 };
  expect(rotationOf(key, { ...older, ordinal: 1 })).toBeUndefined();
  expect(rotationOf(key, { ...older, ordinal: 2 })).toEqual({ rotationType: 'AUTOMATIC', rotatedAtMs: april14 });
  expect(rotationOf({ record: { ...key.record, origin: 'EXTERNAL' } }, { ...older, ordinal: 2 })).toBeUndefined();
});
