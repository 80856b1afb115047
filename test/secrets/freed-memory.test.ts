import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { giveBackFreedMemory } from '../../src/secrets/freed-memory.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const ofFiles = (): number => Number(/^RssFile:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);

test('a process drops pages of its program every five minutes, until it is told to end that', () => {
  const end = giveBackFreedMemory();
  const before = ofFiles();
  vi.advanceTimersByTime(300_000);
  expect(ofFiles()).toBeLessThan(0.8 * before);
  end();
  expect(vi.getTimerCount()).toBe(0);
});
