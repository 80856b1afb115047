/** Synchronous work that leaves room for others. */

import { expect, test } from 'vitest';
import { SlicedWork } from '../../src/keys/use/sliced-work.ts';

/** Takes the thread for longer than a slice. */
function takeTheThread(): void {
  const endsAtMs = performance.now() + 2;
  while (performance.now() < endsAtMs);
}

test('between two pieces that take long, everybody else has a turn', async () => {
  const work = new SlicedWork();
  let turns = 0;
  let isOver = false;
  const countTurns = (): void => {
    turns++;
    if (!isOver) setImmediate(countTurns);
  };
  setImmediate(countTurns);
  const turnsAtPieces = await Promise.all(
    Array.from({ length: 10 }, () =>
      work.run(() => {
        takeTheThread();
        return turns;
      }),
    ),
  );
  isOver = true;
  expect(turnsAtPieces).toHaveLength(10);
  expect(new Set(turnsAtPieces).size).toBe(10);
});

test('pieces are done in the order in which they came, and each has its own outcome', async () => {
  const work = new SlicedWork();
  const order: number[] = [];
  const outcomes = await Promise.allSettled(
    [0, 1, 2, 3].map((piece) =>
      work.run(() => {
        order.push(piece);
        if (piece === 1) throw new Error('piece 1 failed');
        return piece;
      }),
    ),
  );
  expect(order).toEqual([0, 1, 2, 3]);
  expect(outcomes).toEqual([
    { status: 'fulfilled', value: 0 },
    { status: 'rejected', reason: new Error('piece 1 failed') },
    { status: 'fulfilled', value: 2 },
    { status: 'fulfilled', value: 3 },
  ]);
  expect(await work.run(() => 'later')).toBe('later');
});
