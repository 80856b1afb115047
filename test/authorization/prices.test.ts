/** What a policy costs at most is known from its text; nothing costs more, and what costs too much is refused when it is put. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decide } from '../../src/authorization/decide.ts';
import type { ConditionKey, ConditionVocabulary } from '../../src/authorization/language/condition-vocabulary.ts';
import { parsePolicyDocument } from '../../src/authorization/language/policy-document.ts';
import type { Room } from '../../src/authorization/language/work-budget.ts';
import { assertAffordable, maxStepsOf } from '../../src/authorization/worst-case.ts';
import { foldCase } from '../../src/kms/case-folding.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { variable } from './any-conditions.ts';
import { alice, allow, bob, deny, keyArn, realm } from './policies.ts';

const texts: Room = { values: 1, characters: 600 };
const lists: Room = { values: 40, characters: 300 };
const vocabulary: ConditionVocabulary = (name) =>
  name.startsWith('x:')
    ? { name, type: 'String', isMultivalued: name === 'x:list', room: name === 'x:text' ? texts : lists }
    : undefined;

/** What a decision spends. */
function spentOn(Statement: readonly object[], context: Readonly<Record<string, readonly string[]>>): [number, number] {
  const keyPolicy = parsePolicyDocument(JSON.stringify({ Version: '2012-10-17', Statement }), realm, vocabulary);
  let spent = 0;
  decide({
    principal: alice,
    accountId: realm.account,
    action: 'kms:Encrypt',
    resource: keyArn,
    keyPolicy,
    identityPolicies: [],
    context: {
      spend: (steps) => {
        spent += steps;
      },
      valuesOf: ({ name }: ConditionKey) => context[name],
    },
  });
  return [spent, maxStepsOf(keyPolicy.statements)];
}

describe('the price of a policy', () => {
  const characters = fc.constantFrom('a', 'b', 'A', 'ж', '😀', ':', 'aaaaaaaa', 'a'.repeat(40));
  const pattern = fc
    .array(fc.constantFrom('*', '?', 'a', 'b', 'ж', ':', 'a'.repeat(40), 'a'.repeat(260), variable('{x:text}')), {
      minLength: 1,
      maxLength: 12,
    })
    .map((parts) => parts.join(''));
  const operators = [
    'StringLike',
    'StringNotLike',
    'StringEquals',
    'StringEqualsIgnoreCase',
    'StringNotEqualsIgnoreCase',
  ];
  const condition = fc
    .tuple(
      fc.constantFrom('', 'ForAnyValue:', 'ForAllValues:'),
      fc.oneof(
        fc.tuple(fc.constantFrom(...operators), fc.array(pattern, { minLength: 1, maxLength: 4 })),
        fc.tuple(
          fc.constantFrom('ArnLike', 'ArnNotLike'),
          fc.array(
            fc.array(pattern, { minLength: 6, maxLength: 7 }).map((fields) => fields.join(':')),
            {
              minLength: 1,
              maxLength: 3,
            },
          ),
        ),
        fc.tuple(fc.constant('IpAddress'), fc.constant(['10.0.0.0/8', '::1', '10.0.0.0/9'])),
        fc.tuple(fc.constant('NumericEquals'), fc.constant(['1', '2'])),
      ),
      fc.constantFrom('x:text', 'x:list'),
    )
    .map(([set, [operator, values], key]) => ({ [set + operator]: { [key]: values } }));
  const statement = fc
    .tuple(fc.boolean(), condition, fc.constantFrom(alice, bob))
    .map(([allows, Condition, who]) => ({ ...(allows ? allow : deny)(who, 'kms:*'), Condition }));
  const value = fc.array(characters, { maxLength: 40, size: 'max' }).map((parts) => parts.join(''));

  test('is never less than what a decision spends', () => {
    fc.assert(
      fc.property(
        fc.array(statement, { minLength: 1, maxLength: 3 }),
        value,
        fc.array(value, { minLength: 1, maxLength: 40, size: 'max' }),
        (statements, text, list) => {
          fc.pre(text.length <= texts.characters);
          const within: string[] = [];
          let length = 0;
          for (const item of list) {
            length += item.length;
            if (length <= lists.characters) within.push(item);
          }
          const [spent, price] = spentOn(statements, { 'x:text': [text], 'x:list': within });
          expect(spent).toBeLessThanOrEqual(price);
        },
      ),
      { numRuns: 4000 },
    );
  });

  test('is what the longest values cost', () => {
    const ofPattern = (text: string): [number, number] =>
      spentOn([{ ...allow(alice, 'kms:*'), Condition: { StringLike: { 'x:text': text } } }], {
        'x:text': ['a'.repeat(texts.characters)],
      });
    for (const text of ['*b*', '*?b*', `*?${'a'.repeat(29)}b*`, `*?${'a'.repeat(99)}b*`, `*${'a'.repeat(300)}b*`]) {
      const [spent, price] = ofPattern(text);
      expect(spent / price).toBeGreaterThan(0.8);
    }
  });

  test('counts for a caller what names him, and not what names the others', () => {
    const names = (count: number) =>
      Array.from({ length: count }, (_, index) => `arn:aws:iam::000000000000:user/unix/u${index}`);
    const Condition = { StringLike: { 'x:text': '*b*' } };
    const priceOf = (Statement: readonly object[]) =>
      maxStepsOf(parsePolicyDocument(JSON.stringify({ Statement }), realm, vocabulary).statements);
    const of = (count: number) => priceOf(names(count).map((name) => ({ ...allow(name, 'kms:*'), Condition })));
    expect(of(100)).toBe(of(2));
    const everybody = { ...allow('*', 'kms:*'), Condition };
    expect(priceOf([everybody, everybody])).toBe(2 * priceOf([everybody]));
  });
});

describe('a policy', () => {
  const document = (Condition: object): string =>
    JSON.stringify({
      Version: '2012-10-17',
      Statement: [allow(alice, 'kms:*'), { ...allow(bob, 'kms:*'), Sid: 'For Bob', Condition }],
    });
  const put = (Condition: object): void =>
    assertAffordable(parsePolicyDocument(document(Condition), realm, conditionVocabulary));
  const repeated = (text: (index: number) => string): string[] => {
    const values: string[] = [];
    for (let length = 0; length < 30_000; length += (values.at(-1)?.length ?? 0) + 3) values.push(text(values.length));
    return values;
  };
  const context = 'kms:EncryptionContext:app';

  test.each<[string, object]>([
    ['texts anywhere in an encryption context', { StringLike: { [context]: repeated((i) => `*a${i}*`) } }],
    ['any character between stars', { StringLike: { [context]: repeated(() => `*?${'a'.repeat(29)}*`) } }],
    ['long patterns', { StringLike: { [context]: repeated(() => `*?${'a'.repeat(1000)}*`) } }],
    ['ARNs of the encryption context', { ArnLike: { [context]: repeated((i) => `a:a:a:a:a:*${i}*`) } }],
    ['variables that are long', { StringLike: { [context]: repeated(() => `*?${variable('{aws:UserAgent}')}*`) } }],
    [
      'texts anywhere in the names of pairs',
      { 'ForAnyValue:StringLike': { 'kms:EncryptionContextKeys': repeated((i) => `*${i}*`) } },
    ],
    ['texts anywhere in tags', { StringLike: { 'aws:ResourceTag/a': repeated((i) => `*${i}*`) } }],
  ])('with thousands of %s is refused, by the name of its statement', (_, Condition) => {
    expect(() => put(Condition)).toThrow(
      expect.objectContaining({
        name: 'MalformedPolicyDocumentException',
        message: expect.stringMatching(
          /^Statement\[1\] \("For Bob"\): comparing it with the longest values .* use fewer patterns/,
        ),
      }),
    );
  });

  test.each<[string, object]>([
    ['thousands of texts', { StringEquals: { [context]: repeated((i) => `app${i}`) } }],
    [
      'thousands of texts without regard to case',
      { StringEqualsIgnoreCase: { [context]: repeated((i) => `app${i}`) } },
    ],
    [
      'thousands of beginnings and ends',
      { StringLike: { [context]: repeated((i) => (i % 2 === 0 ? `a${i}*` : `*${i}b`)) } },
    ],
    [
      'thousands of beginnings with a character that may be any',
      { StringLike: { [context]: repeated((i) => `a${i}-??-*`) } },
    ],
    [
      'hundreds of beginnings that are variable',
      { StringLike: { [context]: repeated(() => `${variable('{aws:username}')}/${'a'.repeat(40)}*`) } },
    ],
    [
      'hundreds of roles',
      { ArnLike: { 'aws:PrincipalArn': repeated((i) => `arn:aws:iam::000000000000:role/team-${i}/*`).slice(0, 200) } },
    ],
    ['twenty texts anywhere', { StringLike: { [context]: Array.from({ length: 20 }, (_, i) => `*${i}*`) } }],
    ['names of pairs', { 'ForAllValues:StringEquals': { 'kms:EncryptionContextKeys': repeated((i) => `app${i}`) } }],
    ['addresses', { IpAddress: { 'aws:SourceIp': repeated((i) => `10.0.${i >> 8}.${i & 255}`) } }],
  ])('with %s is taken', (_, Condition) => {
    put(Condition);
  });
});

test('a text is never longer than its form without case', () => {
  for (let point = 0; point <= 0x10ffff; point++) {
    const text = String.fromCodePoint(point);
    if (foldCase(text).length < text.length) expect.fail(`U+${point.toString(16)}`);
  }
});
