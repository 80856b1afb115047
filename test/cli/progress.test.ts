/** How far a command is, told to a log. */

import { expect, test } from 'vitest';
import { countInLines } from '../../src/cli/terminal/progress.ts';

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
