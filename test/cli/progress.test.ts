/** How far a command is, told to a log. */

import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { countInLines, tellOfWait } from '../../src/cli/terminal/progress.ts';

test('Where no terminal is a count is told in a line every ten seconds, and never of what is over sooner', () => {
  const lines: string[] = [];
  let nowMs = 5_000;
  const count = countInLines(
    'census',
    'keys',
    () => nowMs,
    (line) => lines.push(line),
  );
  for (let done = 0; done <= 1_000; done++) {
    count.update(done, 1_000);
    nowMs += 25;
  }
  count.stop();
  expect(lines).toEqual(['census: 400 of 1000 keys', 'census: 800 of 1000 keys']);
});

test('Of what says nothing of how far it is a line tells that it goes on, until it ends', async () => {
  const lines: string[] = [];
  const { promise, resolve } = Promise.withResolvers<string>();
  const waited = tellOfWait('backup: the daemon makes it', promise, 5, (line) => {
    lines.push(line);
    if (lines.length === 2) resolve('made');
  });
  expect(await waited).toBe('made');
  await setTimeout(30);
  expect(lines).toEqual(Array.from({ length: 2 }, () => 'backup: the daemon makes it, for 0 s by now'));
});
