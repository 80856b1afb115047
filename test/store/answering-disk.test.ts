/** When a disk is asked again whether it takes something, before what nobody waits for is written. */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AnsweringDisk } from '../../src/store/answering-disk.ts';

/** A disk whose answers take so long. */
function diskThatTakes(tookMs: number) {
  const asked = { times: 0, nowMs: 1_000 };
  const disk = new AnsweringDisk('/', {
    nowMs: () => asked.nowMs,
    async ask() {
      asked.times++;
      asked.nowMs += tookMs;
    },
  });
  /** How often it was asked by then. */
  const after = async (passedMs: number): Promise<number> => {
    asked.nowMs += passedMs;
    await disk.answers();
    return asked.times;
  };
  return { disk, asked, after };
}

test.each([
  [0.1, 5],
  [1.25, 5],
  [2, 8],
  [20, 80],
  [25, 100],
  [900, 100],
])('The answer of a disk that took %s ms is good for %s ms', async (tookMs, goodForMs) => {
  const { after } = diskThatTakes(tookMs);
  expect(await after(0)).toBe(1);
  expect(await after(goodForMs - 0.5)).toBe(1);
  expect(await after(0.5)).toBe(2);
  expect(await after(0)).toBe(2);
});

test('A disk that has not answered is asked once by all who wait', async () => {
  const { disk, asked } = diskThatTakes(3);
  await Promise.all([disk.answers(), disk.answers(), disk.answers()]);
  expect(asked.times).toBe(1);
});

test('What it is asked with leaves nothing in the folder', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-answers-'));
  await new AnsweringDisk(folder).answers();
  expect(readdirSync(folder)).toEqual([]);
  rmSync(folder, { recursive: true });
});
