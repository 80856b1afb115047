/** How much clients can write into the daemon's log by what they do. */

import { afterEach, expect, test, vi } from 'vitest';
import { createLog } from '../../src/daemon/log.ts';

const budget = { linesPerMinute: 5, ownLinesPerMinute: 20, kinds: 16 };

const lines: Record<string, unknown>[] = [];
let bytes = 0;
const open = () =>
  createLog('info', budget, {
    write(line) {
      bytes += line.length;
      const { pid, version, time, ...said } = JSON.parse(line) as Record<string, unknown>;
      lines.push(said);
    },
  });
afterEach(() => {
  lines.length = 0;
  bytes = 0;
  vi.useRealTimers();
});

test('Thousands of lines of one kind and payer are a few and their number, and keep nobody else from being heard', () => {
  vi.useFakeTimers();
  const log = open();
  for (let index = 0; index < 10_000; index++) log.error({ payer: 'uid 1', requestId: index }, 'a request failed');
  log.error({ payer: 'uid 2', requestId: 'other' }, 'a request failed');
  log.warn({}, 'something else');
  expect(lines.length).toBe(7);
  vi.advanceTimersByTime(60_000);
  expect(lines.slice(7)).toEqual([{ level: 'error', payer: 'uid 1', leftOut: 9_995, msg: 'a request failed' }]);
  log.error({ payer: 'uid 1', requestId: 'later' }, 'a request failed');
  expect(lines.at(-1)).toMatchObject({ payer: 'uid 1', requestId: 'later' });
});

test('However many payers there are, the lines of a minute are bounded, and the daemon is heard among them', () => {
  vi.useFakeTimers();
  const log = open();
  for (let index = 0; index < 10_000; index++) log.warn({ payer: `address 192.0.2.${index}` }, 'cut off');
  log.error({}, 'the token is gone');
  expect(lines.length).toBe(budget.kinds + 1);
  expect(lines.at(-1)).toEqual({ level: 'error', msg: 'the token is gone' });
  vi.advanceTimersByTime(60_000);
  expect(lines.slice(budget.kinds + 1)).toMatchObject([{ leftOut: 10_000 - budget.kinds }]);
});

test('What the daemon says of itself has a larger number, and what was left out is written before the end', () => {
  const log = open();
  for (let index = 0; index < 25; index++) log.info({}, 'connected');
  expect(lines.length).toBe(20);
  log.flush();
  expect(lines.at(-1)).toEqual({ level: 'info', leftOut: 5, msg: 'connected' });
});

test('A long line is cut, and says what it is about', () => {
  open().warn({ payer: 'uid 1', text: '"\\\u0001'.repeat(100_000) }, 'very long');
  expect(bytes).toBeLessThan(16 * 1024);
  expect(lines).toMatchObject([{ level: 'warn', msg: 'very long', cut: expect.stringContaining('uid 1') }]);
});
