import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileWildcard, compileWildcards } from '../../src/authorization/language/wildcard.ts';
import { naiveMatches } from './naive-evaluator.ts';

const key = 'arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab';

test.each([
  ['', '', true],
  ['', 'a', false],
  ['*', '', true],
  ['***', 'anything', true],
  ['?', '', false],
  ['?', 'a', true],
  ['?', 'ab', false],
  ['?', '😀', true],
  ['a*', 'a', true],
  ['a*', 'ba', false],
  ['*a', 'bca', true],
  ['*a', 'ab', false],
  ['a*b*c', 'abc', true],
  ['a*b*c', 'aXbXbXc', true],
  ['a*b*c', 'acb', false],
  ['a**?b', 'ab', false],
  ['a**?b', 'aXb', true],
  ['*ab', 'aab', true],
  ['*aab*', 'aaab', true],
  ['.', 'a', false],
  ['[a]', 'a', false],
  ['a\\*', 'a\\b', true],
])('the pattern %j and the text %j: %j', (pattern, text, expected) => {
  expect(compileWildcard(pattern)(text)).toBe(expected);
});

describe('in the pattern of an ARN', () => {
  test.each([
    ['*', true],
    [key, true],
    ['arn:aws:kms:us-east-1:000000000000:key/*', true],
    ['arn:aws:kms:*:*:key/*', true],
    ['arn:aws:kms:us-*-1:000000000000:key/1234abcd*', true],
    ['arn:aws:kms:us-east-?:????????????:key/*ab', true],
    ['arn:aws:kms:us-east-1:000000000000:alias/*', false],
    ['arn:aws:kms:eu-*:000000000000:key/*', false],
    ['arn:aws:kms:us-east-1:111122223333:key/*', false],
    // A star that ends its segment reaches over colons; one within a segment does not, and neither does a `?`.
    ['arn:*', true],
    ['arn:aws:*:key/*', true],
    ['arn:aws:kms:*', true],
    ['arn:aws:k*s:us-east-1:000000000000:key/*', true],
    ['arn:aws:k*1:000000000000:key/*', false],
    ['arn:aws:kms?us-east-1:000000000000:key/*', false],
  ])('%s matches a key: %j', (pattern, expected) => {
    expect(compileWildcard(pattern, 'arn')(key)).toBe(expected);
  });

  test('a colon in the resource is a character like others', () => {
    const pattern = compileWildcard('arn:aws:logs:us-east-1:000000000000:log*group?x', 'arn');
    expect(pattern('arn:aws:logs:us-east-1:000000000000:log:a:group:x')).toBe(true);
  });
});

test('a pattern matches exactly the texts that the definition of * and ? says', () => {
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?', ':'), maxLength: 12 });
  const text = fc.string({ unit: fc.constantFrom('a', 'b', ':', '😀'), maxLength: 12 });
  fc.assert(
    fc.property(pattern, text, (pattern, text) => {
      expect(compileWildcard(pattern)(text)).toBe(naiveMatches(pattern, text));
    }),
    { numRuns: 20_000 },
  );
});

test('a pattern longer than one machine word matches as a short one does', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 20, maxLength: 200 }),
      fc.nat(),
      fc.nat(),
      (text, at, wild) => {
        const from = at % text.length;
        const question = wild % text.length;
        const pattern = `*${text.slice(0, question)}?${text.slice(question + 1)}`;
        expect(compileWildcard(pattern)(text)).toBe(true);
        expect(compileWildcard(`${text.slice(0, from)}*${text.slice(from)}`)(text)).toBe(true);
        expect(compileWildcard(`${pattern}a?`)(`${text}`)).toBe(false);
      },
    ),
  );
});

test('of several patterns one is enough', () => {
  const matches = compileWildcards(['kms:encrypt', 'kms:gen*mac', 'kms:list*']);
  expect(['kms:encrypt', 'kms:generatemac', 'kms:listkeys', 'kms:decrypt'].map((action) => matches(action))).toEqual([
    true,
    true,
    true,
    false,
  ]);
});

/** Each of these takes a matcher that tries again from where it stood longer than anybody waits. */
test.each([
  ['many stars', `${'a*'.repeat(5_000)}b`, 'a'.repeat(100_000)],
  ['stars and question marks', `${'*?'.repeat(5_000)}b`, 'a'.repeat(100_000)],
  ['a long literal that almost fits everywhere', `*${'a'.repeat(5_000)}b*`, 'a'.repeat(100_000)],
  ['a long literal whose first character is wrong', `*b${'a'.repeat(5_000)}*`, 'a'.repeat(100_000)],
  ['question marks that almost fit everywhere', `*${'?a'.repeat(2_500)}b*`, 'a'.repeat(100_000)],
  ['a hundred thousand stars', `${'*'.repeat(100_000)}b`, 'a'.repeat(100_000)],
  ['a pattern longer than the text', `*${'a*'.repeat(50_000)}b`, 'a'.repeat(40_000)],
])('a pattern of %s ends', (_, pattern, text) => {
  expect(compileWildcard(pattern)(text)).toBe(false);
  expect(compileWildcard(pattern, 'arn')(text)).toBe(false);
});
