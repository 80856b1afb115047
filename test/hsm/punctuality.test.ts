/** When a member's call is overdue, and what is learnt of calls that hung. */

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Punctuality } from '../../src/hsm/members/punctuality.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** `count` calls at once, which are answered after `ms`. */
async function answered(punctuality: Punctuality, count: number, ms: number): Promise<void> {
  const calls = Array.from({ length: count }, () => new Promise((resolve) => setTimeout(resolve, ms)));
  const followed = calls.map((call) => punctuality.follow('decrypt', call, { saysHung: true }));
  await vi.advanceTimersByTimeAsync(ms);
  await Promise.all(followed);
}

test('a member that hung for ten seconds has its next call made in another one within three', async () => {
  const punctuality = new Punctuality(() => undefined);
  await answered(punctuality, 5, 10_300);
  expect(punctuality.isOverdue).toBe(false);
  let isOverdue: boolean | undefined;
  const hung = punctuality.follow('decrypt', new Promise(() => undefined), { saysHung: true });
  void hung.then((said) => {
    isOverdue = said;
  });
  await vi.advanceTimersByTimeAsync(3_000);
  expect(isOverdue).toBe(true);
});

test('calls that always take two seconds are not overdue any more after some of them', async () => {
  const punctuality = new Punctuality(() => undefined);
  for (let turn = 0; turn < 10; turn++) await answered(punctuality, 1, 2_000);
  const call = new Promise((resolve) => setTimeout(resolve, 2_000));
  const followed = punctuality.follow('decrypt', call, { saysHung: true });
  await vi.advanceTimersByTimeAsync(2_000);
  expect(await followed).toBe(false);
});
