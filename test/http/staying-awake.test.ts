/** When the main thread stays awake, on an event loop whose turns and time the test makes. */

import { beforeEach, expect, test } from 'vitest';
import { StayingAwake } from '../../src/http/connections/staying-awake.ts';

const turnMs = 0.01;
let nowMs = 0;
let turns = 0;
let next: (() => void) | undefined;
let awake: StayingAwake;

function awakeOn(processors: number): StayingAwake {
  return new StayingAwake({
    now: () => nowMs,
    nextTurn: (turn) => {
      next = turn;
    },
    processors,
  });
}

/** Lets so much time pass. */
function pass(ms: number): void {
  for (const untilMs = nowMs + ms; nowMs < untilMs; nowMs += turnMs) {
    const turn = next;
    next = undefined;
    if (turn === undefined) continue;
    turns++;
    turn();
  }
}

const isAwake = (): boolean => next !== undefined;

/** A request that is answered after so long, and what its client then does for so long. */
function exchange(answerMs: number, pauseMs: number): void {
  awake.arrived(nowMs);
  pass(answerMs);
  awake.answered(nowMs);
  pass(pauseMs);
}

beforeEach(() => {
  nowMs = 1000;
  turns = 0;
  next = undefined;
  awake = awakeOn(2);
});

test('It is awake from a request to the next one, as long as a client sends one after the other', () => {
  for (let count = 0; count < 100; count++) {
    awake.arrived(nowMs);
    pass(0.2);
    expect(isAwake()).toBe(true);
    awake.answered(nowMs);
    pass(0.05);
    expect(isAwake()).toBe(true);
  }
});

test('It sleeps when nothing comes', () => {
  exchange(0.2, 0.05);
  pass(1);
  expect(isAwake()).toBe(false);
  const before = turns;
  pass(1000);
  expect(turns).toBe(before);
});

test.each([
  ['clients think', 0.2, 20, 0.2],
  ['the HSM is far away', 3, 0.05, 0.05],
  ['both', 3, 20, 0],
])(
  'Where %s, a request costs a few microseconds of waiting in vain in the long run',
  (_, answerMs, pauseMs, usefulMs) => {
    for (let count = 0; count < 500; count++) exchange(answerMs, pauseMs);
    turns = 0;
    for (let count = 0; count < 500; count++) exchange(answerMs, pauseMs);
    expect((turns * turnMs) / 500).toBeLessThan(usefulMs + 0.02);
  },
);

test('An answer is waited for although its client thinks long before the next request', () => {
  for (let count = 0; count < 500; count++) exchange(0.2, 20);
  awake.arrived(nowMs);
  pass(0.2);
  expect(isAwake()).toBe(true);
});

test('It is found out again that it pays', () => {
  for (let count = 0; count < 500; count++) exchange(3, 20);
  for (let count = 0; count < 500; count++) exchange(0.2, 0.05);
  exchange(0.2, 0.05);
  expect(isAwake()).toBe(true);
});

test('Where much is under way there is nothing to stay awake for', () => {
  for (let count = 0; count < 16; count++) awake.arrived(nowMs);
  pass(1);
  turns = 0;
  for (let count = 0; count < 100; count++) {
    awake.answered(nowMs);
    awake.arrived(nowMs);
    pass(0.02);
  }
  expect(turns).toBe(0);
});

test('With one processor, who is waited for has it', () => {
  awake = awakeOn(1);
  for (let count = 0; count < 100; count++) exchange(0.2, 0.05);
  expect(turns).toBe(0);
});
