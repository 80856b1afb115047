/** Conditions: each operator with values that satisfy it and values that don't, and how the request's values are counted. */

import { describe, expect, test } from 'vitest';
import { operatorNames } from '../../src/authorization/language/condition-operators.ts';
import { denies, holds, type Values, variable } from './any-conditions.ts';
import { alice, allow, policy, refusalOf } from './policies.ts';

/** An operator, one value of a policy, and values of requests that match it or do not. */
const rows: readonly (readonly [
  operator: string,
  value: unknown,
  matching: readonly string[],
  other: readonly string[],
])[] = [
  ['StringEquals', 'Alpha', ['Alpha'], ['alpha', 'Alph', 'Alpha ', '']],
  ['StringEquals', 'a*', ['a*'], ['ab']],
  ['StringEquals', '', [''], ['a']],
  ['StringNotEquals', 'Alpha', ['alpha', ''], ['Alpha']],
  ['StringEqualsIgnoreCase', 'Alpha', ['ALPHA', 'alpha'], ['alph']],
  ['StringEqualsIgnoreCase', 'ΟΔΟΣ ſ', ['οδος s', 'οδοσ S', 'Οδοσ ſ'], ['οδο s']],
  ['StringEqualsIgnoreCase', 'straße', ['STRAßE', 'STRAẞE'], ['STRASSE', 'strasse']],
  ['StringNotEqualsIgnoreCase', 'Alpha', ['alph'], ['ALPHA']],
  ['StringLike', 'a*c?', ['acd', 'abccd'], ['ac', 'Acd', 'xacd']],
  ['StringNotLike', 'a*', ['b', 'A'], ['a', 'ab']],
  ['StringLike', variable('{*}x'), ['*x'], ['ax']],
  ['StringLike', `a${variable('{?}')}${variable('{$}')}`, ['a?$'], ['ab$']],
  ['NumericEquals', '10', ['10', '10.0', '1e1', '+10'], ['11', 'ten', '', '0x0a', ' 10']],
  ['NumericNotEquals', 10, ['11', 'ten'], ['10']],
  ['NumericLessThan', '10', ['9.99', '-1'], ['10', '11', 'few']],
  ['NumericLessThanEquals', 10, ['10'], ['10.01']],
  ['NumericGreaterThan', '10', ['10.01'], ['10', '9']],
  ['NumericGreaterThanEquals', '10', ['10'], ['9.99']],
  [
    'DateEquals',
    '2030-01-01T00:00:00Z',
    ['2030-01-01', '2030-01-01T01:00:00+01:00', '1893456000'],
    ['2030-01-02', 'x'],
  ],
  ['DateNotEquals', '2030', ['2031', 'never'], ['2030-01-01T00:00:00Z']],
  ['DateLessThan', '2030-01-01T00:00Z', ['2029-12-31T23:59:59.999Z'], ['2030-01-01']],
  ['DateLessThanEquals', '2030-01', ['2030-01-01'], ['2030-01-01T00:00:01']],
  ['DateGreaterThan', 1893456000, ['2030-01-01T00:00:01Z'], ['2030-01-01']],
  ['DateGreaterThanEquals', '2030-01-01', ['2030-01-01T00:00:00'], ['2029-12-31']],
  ['Bool', true, ['true', 'TRUE'], ['false', '', '1']],
  ['Bool', 'False', ['false'], ['true']],
  ['BinaryEquals', 'QmluYXJ5', ['QmluYXJ5'], ['QmluYXJ6', 'Binary']],
  ['IpAddress', '203.0.113.0/24', ['203.0.113.0', '203.0.113.255', '::ffff:203.0.113.9'], ['203.0.114.0', 'unix', '']],
  ['IpAddress', '203.0.113.7', ['203.0.113.7'], ['203.0.113.8']],
  ['IpAddress', '2001:db8::/32', ['2001:db8:ffff::1', '2001:DB8::'], ['2001:db9::1', '10.0.0.1']],
  ['IpAddress', '::/0', ['::1', '::ffff:10.0.0.1'], ['127.0.0.1', '0.0.0.0']],
  ['IpAddress', '0.0.0.0/0', ['127.0.0.1', '::ffff:10.0.0.1'], ['::1']],
  ['NotIpAddress', '10.0.0.0/8', ['11.0.0.0', 'unix'], ['10.255.255.255']],
  ['NotIpAddress', '::/0', ['127.0.0.1', 'unix'], ['::1']],
  [
    'ArnEquals',
    'arn:aws:iam::*:user/a?',
    ['arn:aws:iam::000000000000:user/ab'],
    ['arn:aws:iam::1:2:user/ab', 'arn:aws:iam::1:user/abc'],
  ],
  ['ArnLike', 'arn:*:*:*:*:*', ['arn:aws:iam::0:user/a:b'], ['arn:aws:iam', 'x:aws:iam::0:user/a']],
  ['ArnLike', '*', ['arn:aws:iam::0:root', 'anything'], []],
  ['ArnNotEquals', 'arn:aws:iam::0:root', ['arn:aws:iam::0:user/x', 'no ARN'], ['arn:aws:iam::0:root']],
  ['ArnNotLike', 'arn:aws:iam::0:*', ['arn:aws:iam::1:root'], ['arn:aws:iam::0:root']],
];

describe('an operator', () => {
  test.each(rows)('%s %j', (operator, value, matching, other) => {
    const verdicts = (values: readonly string[]) =>
      values.map((actual) => [actual, holds({ [operator]: { 'x:key': value } }, { 'x:key': [actual] })]);
    expect(verdicts(matching)).toEqual(matching.map((actual) => [actual, true]));
    expect(verdicts(other)).toEqual(other.map((actual) => [actual, false]));
  });

  test('is in a row above, each of them', () => {
    const shown = new Set(rows.map(([operator]) => operator));
    expect(operatorNames.filter((name) => name !== 'Null' && !shown.has(name))).toEqual([]);
  });
});

/** What holds when the key is absent, is there without a value, and has one or several values. */
const counts: readonly (readonly [
  operator: string,
  absent: boolean,
  empty: boolean,
  a: boolean,
  ab: boolean,
  b: boolean,
])[] = [
  ['StringEquals', false, false, true, false, false],
  ['StringNotEquals', true, true, false, false, true],
  ['StringEqualsIfExists', true, true, true, false, false],
  ['StringNotEqualsIfExists', true, true, false, false, true],
  ['ForAllValues:StringEquals', true, true, true, false, false],
  ['ForAllValues:StringNotEquals', true, true, false, false, true],
  ['ForAllValues:StringEqualsIfExists', true, true, true, false, false],
  ['ForAnyValue:StringEquals', false, false, true, true, false],
  ['ForAnyValue:StringNotEquals', false, false, false, true, true],
  ['ForAnyValue:StringEqualsIfExists', true, false, true, true, false],
  ['ForAnyValue:StringNotEqualsIfExists', true, false, false, true, true],
];

test.each(counts)('%s: a key that is absent %j, empty %j, [a] %j, [a, b] %j, [b] %j', (operator, ...expected) => {
  const condition = { [operator]: { 'x:keys': 'a' } };
  const requests: readonly Values[] = [undefined, [], ['a'], ['a', 'b'], ['b']];
  expect(requests.map((values) => holds(condition, { 'x:keys': values }))).toEqual(expected);
});

/** What AWS leaves open is decided so that nobody is let in by what he adds to a list. */
test.each([
  ['StringEquals', 'good', { lets: false, denies: true }],
  ['StringNotEquals', 'good', { lets: false, denies: true }],
  ['StringLike', 'goo*', { lets: false, denies: true }],
  ['StringLikeIfExists', '*d', { lets: true, denies: true }],
  ['StringEquals', 'neither', { lets: false, denies: false }],
  ['StringNotEquals', 'neither', { lets: true, denies: true }],
  ['ForAnyValue:StringEquals', 'good', { lets: true, denies: true }],
  ['ForAllValues:StringEquals', 'good', { lets: false, denies: false }],
])('a set with a good and a bad value under %s %j: %j', (operator, value, expected) => {
  for (const values of [
    ['good', 'bad'],
    ['bad', 'good'],
  ]) {
    const [condition, context] = [{ [operator]: { 'x:keys': value } }, { 'x:keys': values }];
    expect({ lets: holds(condition, context), denies: denies(condition, context) }).toEqual(expected);
  }
});

test.each([
  ['true', [true, true, false]],
  [false, [false, false, true]],
  [
    ['true', 'false'],
    [true, true, true],
  ],
])('Null %j: a key that is absent, empty, there', (value, expected) => {
  const requests: readonly Values[] = [undefined, [], ['a']];
  expect(requests.map((values) => holds({ Null: { 'x:key': value } }, { 'x:key': values }))).toEqual(expected);
});

test('all operators and all keys have to hold, and one of the values', () => {
  const condition = { StringEquals: { 'x:a': ['1', '2'], 'x:b': '3' }, Bool: { 'x:c': 'true' } };
  const context = { 'x:a': ['2'], 'x:b': ['3'], 'x:c': ['true'] };
  expect(holds(condition, context)).toBe(true);
  for (const name of Object.keys(context))
    expect([name, holds(condition, { ...context, [name]: ['4'] })]).toEqual([name, false]);
  expect(holds({}, {})).toBe(true);
});

/** Two pairs of an encryption context, or two tags, whose names differ in case alone: the caller writes one for each side. */
describe('a key that should have one value and has a good and a bad one', () => {
  const context = { 'x:key': ['good', 'bad'] };
  const reversed = { 'x:key': ['bad', 'good'] };
  test.each([
    ['StringEquals', 'good', { lets: false, denies: true }],
    ['StringEquals', 'bad', { lets: false, denies: true }],
    ['StringNotEquals', 'good', { lets: false, denies: true }],
    ['StringLike', 'goo*', { lets: false, denies: true }],
    ['StringEqualsIfExists', 'good', { lets: false, denies: true }],
    ['ForAnyValue:StringEquals', 'good', { lets: false, denies: true }],
    ['ForAllValues:StringNotEquals', 'good', { lets: false, denies: true }],
    ['StringEquals', 'neither', { lets: false, denies: false }],
    ['StringNotEquals', 'neither', { lets: true, denies: true }],
    ['StringLike', '*d', { lets: true, denies: true }],
  ])('under %s %j: %j', (operator, value, expected) => {
    for (const values of [context, reversed]) {
      const condition = { [operator]: { 'x:key': value } };
      expect({ lets: holds(condition, values), denies: denies(condition, values) }).toEqual(expected);
    }
  });

  test('has no value as a policy variable, and no default', () => {
    const condition = { StringEquals: { 'aws:username': [variable('{x:key}'), variable("{x:key, 'good'}")] } };
    expect(holds(condition, { ...context, 'aws:username': ['good'] })).toBe(false);
    expect(holds(condition, { 'x:key': ['good'], 'aws:username': ['good'] })).toBe(true);
  });
});

describe('a policy variable', () => {
  const equals = (value: string, operator = 'StringEquals') => ({ [operator]: { 'x:key': value } });
  const name = variable('{aws:username}');

  test('stands for a value of the request, literally', () => {
    expect(holds(equals(`/home/${name}`), { 'aws:username': ['eve'], 'x:key': ['/home/eve'] })).toBe(true);
    expect(holds(equals(`${name}*`, 'StringLike'), { 'aws:username': ['*'], 'x:key': ['eve'] })).toBe(false);
    expect(holds(equals(`${name}*`, 'StringLike'), { 'aws:username': ['*'], 'x:key': ['*eve'] })).toBe(true);
  });

  test('is its default where the request has no value', () => {
    const text = variable("{aws:username, 'no one'}");
    expect(holds(equals(text), { 'x:key': ['no one'] })).toBe(true);
    expect(holds(equals(text), { 'aws:username': ['eve'], 'x:key': ['no one'] })).toBe(false);
  });

  test('without value and default matches nothing, and does not let more through under a negation', () => {
    for (const operator of ['StringEquals', 'StringNotEquals', 'StringLike', 'StringNotLike']) {
      expect([operator, holds(equals(name, operator), { 'x:key': ['eve'] })]).toEqual([operator, false]);
    }
  });

  test('is text in the first version of the language', () => {
    const context = { 'aws:username': ['eve'], 'x:key': [name] };
    expect(holds(equals(name), context, '2008-10-17')).toBe(true);
    expect(holds(equals(name), context)).toBe(false);
  });
});

describe('a condition is refused, with the place and the reason:', () => {
  const refusal = (Condition: unknown): string => refusalOf(policy({ ...allow(alice, 'kms:*'), Condition }));
  const at = (operator: string, key: string): string => `Statement[0].Condition.${operator}["${key}"]`;
  test.each<[string, unknown, string]>([
    ['a list', [], 'Statement[0].Condition: it must be an object.'],
    ['an operator of nothing', { Bool: {} }, 'Statement[0].Condition.Bool: it must name at least one condition key.'],
    [
      'an operator in small letters',
      { stringEquals: { 'aws:username': 'x' } },
      'Statement[0].Condition: "stringEquals" is not a condition operator.',
    ],
    [
      'a set operator that is none',
      { 'ForSomeValues:StringEquals': { 'aws:username': 'x' } },
      'Statement[0].Condition: "ForSomeValues:StringEquals" is not a condition operator.',
    ],
    [
      'NullIfExists',
      { NullIfExists: { 'aws:username': 'true' } },
      'Statement[0].Condition: "NullIfExists" is not a condition operator: Null stands alone.',
    ],
    [
      'a misspelt key of KMS',
      { StringEquals: { 'kms:KeySpecs': 'x' } },
      `${at('StringEquals', 'kms:KeySpecs')}: "kms:KeySpecs" is not a condition key.`,
    ],
    [
      'a family without its name',
      { StringEquals: { 'kms:EncryptionContext': 'x' } },
      `${at('StringEquals', 'kms:EncryptionContext')}: "kms:EncryptionContext" is not a condition key.`,
    ],
    [
      'a misspelt key of ours',
      { StringEquals: { 'drawbridge:User': 'x' } },
      `${at('StringEquals', 'drawbridge:User')}: "drawbridge:User" is not a condition key.`,
    ],
    [
      'a key without its service',
      { StringEquals: { username: 'x' } },
      `${at('StringEquals', 'username')}: "username" is not a condition key such as "kms:KeySpec" or "aws:PrincipalArn".`,
    ],
    [
      'no value',
      { StringEquals: { 'aws:username': [] } },
      `${at('StringEquals', 'aws:username')}: it must have at least one value.`,
    ],
    [
      'a value that is null',
      { StringEquals: { 'aws:username': null } },
      `${at('StringEquals', 'aws:username')}: its values must be texts, numbers or booleans.`,
    ],
    [
      'a number that is none',
      { NumericEquals: { 'aws:EpochTime': 'soon' } },
      `${at('NumericEquals', 'aws:EpochTime')}: "soon" is not a number.`,
    ],
    [
      'the 30th of February',
      { DateLessThan: { 'aws:CurrentTime': '2030-02-30' } },
      `${at('DateLessThan', 'aws:CurrentTime')}: "2030-02-30" is not a date such as "2030-01-31T12:00:00Z" or a number of seconds since 1970.`,
    ],
    [
      'a range of 33 bits',
      { IpAddress: { 'aws:SourceIp': '10.0.0.0/33' } },
      `${at('IpAddress', 'aws:SourceIp')}: "10.0.0.0/33" is not an IP address or a range such as "10.0.0.0/8".`,
    ],
    [
      'perhaps',
      { Bool: { 'kms:MultiRegion': 'perhaps' } },
      `${at('Bool', 'kms:MultiRegion')}: "perhaps" is not "true" or "false".`,
    ],
    [
      'Null of a text',
      { Null: { 'aws:username': 'x' } },
      `${at('Null', 'aws:username')}: "x" is not "true" or "false".`,
    ],
    [
      'what is no base64',
      { BinaryEquals: { 'aws:username': '=' } },
      `${at('BinaryEquals', 'aws:username')}: "=" is not bytes in base64.`,
    ],
    [
      'an ARN of three parts',
      { ArnLike: { 'aws:PrincipalArn': 'arn:aws:iam' } },
      `${at('ArnLike', 'aws:PrincipalArn')}: "arn:aws:iam" is not an ARN of six parts, which may have wildcards in them, or "*".`,
    ],
    [
      'a variable without an end',
      { StringEquals: { 'aws:username': variable('{aws:username') } },
      `${at('StringEquals', 'aws:username')}: a policy variable must look like ${['{aws:username}', "{aws:username, 'default'}", '{*}'].map(variable).join(' or ')}.`,
    ],
    [
      'a variable of several values',
      { StringEquals: { 'aws:username': variable('{aws:TagKeys}') } },
      `${at('StringEquals', 'aws:username')}: aws:TagKeys may have several values and cannot be a policy variable.`,
    ],
    [
      'a misspelt variable of KMS',
      { StringEquals: { 'aws:username': variable('{kms:Name}') } },
      `${at('StringEquals', 'aws:username')}: "kms:Name" is not a condition key.`,
    ],
    [
      'ForAllValues over a value of the encryption context',
      { 'ForAllValues:StringEquals': { 'kms:EncryptionContext:a': 'x' } },
      'OverlyPermissiveCondition: Using the ForAllValues set operator with a single-valued condition key matches requests without the specified encryption context or with an unspecified encryption context. To fix, remove ForAllValues.',
    ],
  ])('%s', (_, condition, message) => {
    expect(refusal(condition)).toBe(message);
  });

  test('and a key of another service is taken, and never there', () => {
    expect(() => refusal({ StringEquals: { 's3:prefix': 'x', 'cognito-identity.amazonaws.com:sub': 'y' } })).toThrow(
      'the document was taken',
    );
  });
});
