import { expect, test } from 'vitest';
import { BoundedWork } from '../../src/keys/use/bounded-work.ts';

/** Work that ends when it is told to, and what was begun so far. */
function work() {
  const begun: number[] = [];
  const ends = new Map<number, PromiseWithResolvers<number>>();
  const piece = (number: number) => () => {
    begun.push(number);
    const end = Promise.withResolvers<number>();
    ends.set(number, end);
    return end.promise;
  };
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  return { begun, ends, piece, settled };
}

test('Two pieces of work run at once, and the others follow in the order in which they came', async () => {
  const { begun, ends, piece, settled } = work();
  const bounded = new BoundedWork(2);
  const results = [1, 2, 3, 4].map((number) => bounded.run(piece(number)));
  await settled();
  expect(begun).toEqual([1, 2]);
  ends.get(2)?.resolve(20);
  await settled();
  expect(begun).toEqual([1, 2, 3]);
  for (const number of [1, 3]) ends.get(number)?.resolve(number * 10);
  await settled();
  ends.get(4)?.resolve(40);
  expect(await Promise.all(results)).toEqual([10, 20, 30, 40]);
});

test('Work that fails gives its place back, whether it throws or rejects', async () => {
  const bounded = new BoundedWork(1);
  const failed = [
    bounded.run(() => Promise.reject(new RangeError('rejected'))),
    bounded.run(() => {
      throw new RangeError('thrown');
    }),
  ];
  expect((await Promise.allSettled(failed)).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect(await bounded.run(async () => 'done')).toBe('done');
});

test('A place that became free is not taken twice', async () => {
  const { begun, ends, piece, settled } = work();
  const bounded = new BoundedWork(1);
  const results = [bounded.run(piece(1)), bounded.run(piece(2))];
  await settled();
  ends.get(1)?.resolve(1);
  results.push(bounded.run(piece(3)));
  await settled();
  expect(begun).toEqual([1, 2]);
  ends.get(2)?.resolve(2);
  await settled();
  expect(begun).toEqual([1, 2, 3]);
  ends.get(3)?.resolve(3);
  expect(await Promise.all(results)).toEqual([1, 2, 3]);
});
