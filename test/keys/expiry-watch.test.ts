/** Whether material has expired, by two clocks that anybody may set: at each moment of stories told in hours. */

import { expect, test } from 'vitest';
import { ExpiryWatch } from '../../src/keys/expiry-watch.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';

const hourMs = 60 * 60 * 1000;

/** A watch by clocks that the test sets, and material that expires at `validTo` o'clock. */
function watching(validTo: number | null, start: { readonly wall: number; readonly boot: number }) {
  let { wall, boot } = start;
  const watch = new ExpiryWatch({ now: () => ({ wallMs: wall * hourMs, bootMs: boot * hourMs }) });
  const material = { backingKeyId: newBackingKeyId(), validToMs: validTo === null ? null : validTo * hourMs };
  // What is asked for the first time is seen then.
  watch.hasExpired(material);
  return {
    at: (clocks: { readonly wall?: number; readonly boot?: number }): boolean => {
      wall = clocks.wall ?? wall;
      boot = clocks.boot ?? boot;
      return watch.hasExpired(material);
    },
    replacedBy(other: number): (clocks: { readonly wall?: number; readonly boot?: number }) => boolean {
      const again = { ...material, validToMs: other * hourMs };
      watch.hasExpired(again);
      return (clocks) => {
        wall = clocks.wall ?? wall;
        boot = clocks.boot ?? boot;
        return watch.hasExpired(again);
      };
    },
  };
}

test('material without a date never expires', () => {
  expect(watching(null, { wall: 100, boot: 5 }).at({ wall: 1e9, boot: 1e9 })).toBe(false);
});

test('material expires at its date and not before', () => {
  const { at } = watching(110, { wall: 100, boot: 5 });
  expect([at({ wall: 109.9, boot: 14.9 }), at({ wall: 110, boot: 15 })]).toEqual([false, true]);
});

test('a wall clock that is set back delays nothing', () => {
  const { at } = watching(110, { wall: 100, boot: 5 });
  expect([at({ wall: 50, boot: 14.9 }), at({ wall: 50.1, boot: 15 })]).toEqual([false, true]);
});

test('a wall clock that is set forward ends the use at once, and gives it back when it is put right', () => {
  const { at } = watching(110, { wall: 100, boot: 5 });
  expect([at({ wall: 10_000 }), at({ wall: 101, boot: 6 }), at({ wall: 110, boot: 15 })]).toEqual([true, false, true]);
});

test('a wall clock that was wrong when the daemon started gives the use back when it is put right', () => {
  const { at } = watching(110, { wall: 10_000, boot: 1 });
  expect(at({})).toBe(true);
  expect([at({ wall: 100, boot: 2 }), at({ wall: 50, boot: 11.9 }), at({ boot: 12 })]).toEqual([false, false, true]);
});

test('another date counts from the moment when it was set', () => {
  const { at, replacedBy } = watching(110, { wall: 100, boot: 5 });
  expect(at({ wall: 109, boot: 14 })).toBe(false);
  const later = replacedBy(120);
  expect([later({ wall: 119, boot: 24 }), later({ wall: 0, boot: 25 })]).toEqual([false, true]);
});
