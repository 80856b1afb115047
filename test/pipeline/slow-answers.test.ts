/** How answers are held back: counted, in the order in which they are let go. */

import { expect, test } from 'vitest';
import { payerOfUid } from '../../src/kms/payer.ts';
import { SlowAnswers } from '../../src/pipeline/slow-answers.ts';

test('Payers take turns, each in the order of its requests, and all are answered', async () => {
  const slow = new SlowAnswers();
  const order: string[] = [];
  const wait = (uid: number, number: number) => slow.turn(payerOfUid(uid)).then(() => order.push(`${uid} ${number}`));
  const all = [
    ...Array.from({ length: 50 }, (_, number) => wait(1, number)),
    ...Array.from({ length: 3 }, (_, number) => wait(2, number)),
  ];
  expect(order).toEqual([]);
  await Promise.all(all);
  expect(order.slice(0, 6)).toEqual(['1 0', '2 0', '1 1', '2 1', '1 2', '2 2']);
  expect(order.filter((each) => each.startsWith('1 '))).toEqual(
    Array.from({ length: 50 }, (_, number) => `1 ${number}`),
  );
});
