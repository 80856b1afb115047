/** What calls are thought to take, and from which answers that is learnt. */

import { describe, expect, test } from 'vitest';
import { CallCosts, learnCosts } from '../../src/hsm/call-costs.ts';

const key = (text: string) => [Buffer.from(text)];

describe('What a call is thought to take', () => {
  const answered = (ms: number, traits: object = {}) => ({
    cost: { ms },
    expectedMs: ms,
    generates: false,
    succeeded: true,
    ...traits,
  });

  test('comes nearer to what it took, faster when that was less', () => {
    const [slower, faster] = [answered(1), answered(1)];
    for (let i = 0; i < 10; i++) learnCosts([slower], 2);
    for (let i = 0; i < 10; i++) learnCosts([faster], 0.5);
    expect(slower.cost.ms).toBeGreaterThan(1);
    expect(slower.cost.ms).toBeLessThan(2);
    expect(faster.cost.ms).toBeLessThan(0.6);
  });

  test('is divided among those that were answered together as they were expected', () => {
    const [little, much] = [answered(1), answered(9)];
    learnCosts([little, much], 5);
    expect(much.cost.ms / little.cost.ms).toBeCloseTo(9);
    expect(little.cost.ms).toBeLessThan(1);
  });

  test('is not learnt from what failed, nor from what was answered together with a generation', () => {
    const [failed, beside] = [answered(1, { succeeded: false }), answered(1)];
    learnCosts([failed], 0.1);
    learnCosts([answered(0, { generates: true }), beside], 150);
    expect([failed.cost.ms, beside.cost.ms]).toEqual([1, 1]);
  });

  test('is of each key where it depends on the key, and alone there a call is dear', () => {
    const costs = new CallCosts();
    const [one, other] = [costs.of('sign', key('one')), costs.of('sign', key('other'))];
    expect(costs.of('sign', key('one'))).toBe(one);
    expect(other).not.toBe(one);
    one.ms = 5;
    expect(costs.isDear('sign', one)).toBe(true);
    const random = costs.of('random', []);
    expect(costs.of('random', [])).toBe(random);
    random.ms = 5;
    expect(costs.isDear('random', random)).toBe(false);
  });
});
