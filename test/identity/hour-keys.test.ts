/** The keys of temporary credentials go with their hour, also in a daemon that nobody asks anything. */

import { afterEach, expect, test, vi } from 'vitest';
import { HourKeyRing } from '../../src/identity/hour-keys.ts';

const hourMs = 3_600_000;

afterEach(() => void vi.useRealTimers());

test('Hour keys are forgotten when nothing of their hour can be good any more, and are there until then', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: 1000 * hourMs + 5 });
  let derived = 0;
  const ring = new HourKeyRing(async () => Buffer.alloc(32, ++derived), 'test/', 1, Date.now);
  const issuedAt = Math.floor(Date.now() / 1000);
  await ring.of(issuedAt, Date.now());
  expect([ring.size, derived]).toEqual([1, 2]);
  vi.advanceTimersByTime(hourMs);
  expect(ring.size).toBe(1);
  await ring.of(issuedAt + 3600, Date.now());
  expect([ring.size, derived]).toEqual([2, 4]);
  vi.advanceTimersByTime(hourMs);
  expect(ring.size).toBe(1);
  vi.advanceTimersByTime(hourMs);
  expect([ring.size, vi.getTimerCount()]).toEqual([0, 0]);
});
