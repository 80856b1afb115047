/** What somebody may put who wants to stop the daemon, and what the budget of a decision makes of it. */

import { describe, expect, test } from 'vitest';
import { tooMuchWork } from '../../src/authorization/language/work-budget.ts';
import { maxDecisionSteps } from '../../src/kms/budgets.ts';
import { holds, type Values, variable } from './any-conditions.ts';

describe('a bomb', () => {
  const value = 'a'.repeat(8000);
  const repeated = (text: (index: number) => string, bytes = 31_000): string[] => {
    const values: string[] = [];
    for (let length = 0; length < bytes; length += (values.at(-1)?.length ?? 0) + 3) values.push(text(values.length));
    return values;
  };
  const decideWithin = (Condition: object, context: Readonly<Record<string, Values>>): (() => boolean) => {
    let stepsLeft = maxDecisionSteps;
    const spend = (steps: number): void => {
      stepsLeft -= steps;
      if (stepsLeft < 0) throw tooMuchWork();
    };
    return () => holds(Condition, context, '2012-10-17', { spend });
  };
  const keyWith = (values: string | readonly string[]): [key: string, context: Readonly<Record<string, Values>>] =>
    typeof values === 'string' ? ['x:key', { 'x:key': [values] }] : ['x:keys', { 'x:keys': values }];
  const many = (value: string, count: number): string[] => Array.from({ length: count }, () => value);

  test.each<[string, string, readonly string[], string | readonly string[]]>([
    ['of many short patterns', 'StringLike', repeated(() => '*ab*'), value],
    ['of many patterns with several pieces', 'StringLike', repeated((index) => `*a*b${index}*`), value],
    ['of question marks', 'StringLike', repeated((index) => `*a?b${index}*`), value],
    ['of patterns that fill a word', 'StringLike', repeated(() => `*${'?'.repeat(27)}b*`), value],
    ['of patterns that do not quite fit into a word', 'StringLike', repeated(() => `*?${'a'.repeat(29)}b*`), value],
    ['of long patterns', 'StringLike', repeated(() => `*${'?'.repeat(1000)}b*`), value],
    ['of very long patterns', 'StringLike', many(`*${'?'.repeat(7500)}b*`, 3), value],
    ['of pieces that nearly match', 'StringLike', repeated((index) => `*${'a'.repeat(200)}b${index}*`), value],
    ['of long pieces that nearly match', 'StringLike', repeated(() => `*${'a'.repeat(251)}b*`), value],
    ['of ARNs', 'ArnLike', repeated(() => '*:*:*:*:*:*ab*'), `arn:a:a:a:a:${value}`],
    ['of ARNs of colons', 'ArnLike', repeated(() => '*:*:*:*:*:*?b'), ':'.repeat(8000)],
    ['of variables in patterns', 'StringLike', repeated(() => `?${variable('{x:key}')}?`), value],
    ['of variables that are compared', 'StringEqualsIgnoreCase', repeated(() => `${variable('{x:key}')}b`), value],
    ['of letters that are not ASCII', 'StringEqualsIgnoreCase', ['я'.repeat(40_000)], 'ж'.repeat(40_000)],
    ['of patterns for many values', 'ForAnyValue:StringLike', repeated(() => '*ab*'), many('aa', 4000)],
    ['of pieces for many values', 'ForAnyValue:StringLike', repeated(() => '?b'), many('a', 8000)],
    ['of ARNs for many values', 'ForAnyValue:ArnLike', repeated(() => ':::::a'), many(':::::b', 1300)],
    ['of addresses', 'ForAnyValue:IpAddress', repeated((i) => `10.0.${i >> 8}.${i & 255}`), many('1.2.3.4', 1000)],
  ])('%s is given up', (_, operator, patterns, values) => {
    const [key, context] = keyWith(values);
    expect(decideWithin({ [operator]: { [key]: patterns } }, context)).toThrow(
      expect.objectContaining({
        name: 'LimitExceededException',
        message:
          'The values of this request are too long or too many to be compared with the policies that apply to it.',
      }),
    );
  });

  test('of many conditions that ignore case is given up', () => {
    // Names of keys are written in any case, so that one operator can have thousands that are about one key.
    const keys = Array.from({ length: 12 }, (_, index) => `x:key${index}`);
    const contexts = Object.fromEntries(keys.map((key) => [key, ['ж'.repeat(4000)]]));
    const conditions = Object.fromEntries(keys.map((key) => [key, 'я'.repeat(4000)]));
    expect(decideWithin({ StringNotEqualsIgnoreCase: conditions }, contexts)).toThrow(tooMuchWork());
    expect(decideWithin({ StringNotEquals: conditions }, contexts)()).toBe(true);
  });

  test.each<[string, string, readonly string[], string | readonly string[]]>([
    ['stars', 'StringLike', ['*a'.repeat(15_000)], value],
    ['a few pieces', 'StringLike', [`*b${'a'.repeat(4000)}*`, `*${'a'.repeat(4000)}b*`], value.slice(0, 1000)],
    ['patterns and a long value', 'StringLike', repeated((index) => `b${index}*`), value],
    ['texts and a long value', 'StringEquals', repeated((index) => `a${index}`), value],
    ['texts and many values', 'ForAnyValue:StringEquals', repeated((index) => `v${index}`), many('k', 4000)],
    ['numbers and many values', 'ForAnyValue:NumericEquals', repeated((index) => `${index}`), many('-1', 4000)],
    ['dates and many values', 'ForAnyValue:DateEquals', repeated(() => '2030'), many('2031', 2000)],
    ['bytes and a long value', 'BinaryEquals', repeated(() => 'aaab'), value],
    ['addresses and one value', 'IpAddress', repeated((i) => `10.0.${i >> 8}.${i & 255}`), '1.2.3.4'],
    ['patterns and a value of 100 characters', 'StringLike', repeated(() => '*ab*'), value.slice(0, 100)],
  ])('of %s is judged', (_, operator, expected, values) => {
    const [key, context] = keyWith(values);
    expect(decideWithin({ [operator]: { [key]: expected } }, context)()).toBe(false);
  });
});
