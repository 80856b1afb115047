/**
 * The order in which synchronous work is done, by work that takes a given time of a clock that nothing else moves: a machine
 * that stands still in the middle is charged to nobody.
 */

import { expect, test } from 'vitest';
import { type Payer, payerOfUid } from '../../src/kms/payer.ts';
import { ProcessorTurns } from '../../src/pipeline/processor-turns.ts';

const mallory = payerOfUid(4001);
const alice = payerOfUid(4002);
const bob = payerOfUid(4003);

function recorder(sliceMs?: number) {
  let nowMs = 0;
  const turns = new ProcessorTurns(sliceMs, () => nowMs);
  const done: Payer[] = [];
  const run = (payer: Payer, ms: number): Promise<void> =>
    turns.run(payer, {
      async run() {
        done.push(payer);
        nowMs += ms;
      },
    });
  return { done, run };
}

test('Before the cheap request of another one is one slice of 300 dear ones at most', async () => {
  const { done, run } = recorder();
  const flood = Array.from({ length: 300 }, () => run(mallory, 1));
  // Those that came in one go and fit into a slice of 2 ms are done; all others let the event loop go on.
  expect(done).toHaveLength(2);
  await new Promise((resolve) => setImmediate(resolve));
  expect(done).toHaveLength(4);
  await run(alice, 0.01);
  expect(done.indexOf(alice) - 4).toBeLessThanOrEqual(2);
  await Promise.all(flood);
  expect(done.filter((payer) => payer === mallory)).toHaveLength(300);
});

test('Who asks for dearer decisions has as many fewer of them', async () => {
  const { done, run } = recorder();
  const all = [
    ...Array.from({ length: 20 }, () => run(mallory, 2)),
    ...Array.from({ length: 200 }, () => run(alice, 0.2)),
  ];
  await Promise.all(all);
  const half = done.slice(0, 110);
  const dear = half.filter((payer) => payer === mallory).length;
  // Ten times as dear: a tenth as many, and one more of what was begun.
  expect(dear).toBeGreaterThanOrEqual(10);
  expect(dear).toBeLessThanOrEqual(11);
});

test('Whoever comes anew is not behind by what others had before, and not ahead of them for having been away', async () => {
  const { done, run } = recorder();
  await Promise.all(Array.from({ length: 20 }, () => run(mallory, 1)));
  done.length = 0;
  // Both begin now; mallory is charged for a turn more than bob at most.
  await Promise.all([
    ...Array.from({ length: 10 }, () => run(mallory, 1)),
    ...Array.from({ length: 10 }, () => run(bob, 1)),
  ]);
  const firstTen = done.slice(0, 10);
  const ofBob = firstTen.filter((payer) => payer === bob).length;
  expect(ofBob).toBeGreaterThanOrEqual(4);
  expect(ofBob).toBeLessThanOrEqual(6);
});

test('Work that throws or rejects is told so, and the next one has its turn', async () => {
  const turns = new ProcessorTurns(0);
  const failed = turns.run(mallory, { run: () => Promise.reject(new Error('no')) });
  const next = turns.run(alice, { run: async () => 'done' });
  await expect(failed).rejects.toThrow('no');
  expect(await next).toBe('done');
});
