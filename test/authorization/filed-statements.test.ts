/** Looking statements up by what they require answers what going through all of them answers, for less. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type {
  CompiledStatement,
  StatementQuestion,
  StatementReference,
} from '../../src/authorization/language/compiled-statement.ts';
import type { ConditionKey, ConditionValues } from '../../src/authorization/language/condition-vocabulary.ts';
import { fileStatements, firstThatHolds } from '../../src/authorization/language/filed-statements.ts';
import { anyCase, anyStatement, questionOf } from './arbitrary-policies.ts';
import { compile, deny, keyArn, policy, realm, root } from './policies.ts';

describe('the first statement that holds', () => {
  const goThrough = (
    statements: readonly CompiledStatement[],
    question: StatementQuestion,
  ): StatementReference | undefined =>
    statements.find(({ holds }) => holds === undefined || holds(question))?.reference;

  test('is the one that going through them in the order of the document finds', () => {
    const found = new Set<number | undefined>();
    const anySeveral = fc.array(anyStatement, { minLength: 2, maxLength: 8 });
    fc.assert(
      fc.property(anyCase, anySeveral, fc.boolean(), (item, Statement, isRepeated) => {
        // A second value for keys that should have one, as an encryption context can have under a second spelling.
        const context = Object.fromEntries(
          Object.entries(item.context).map(([name, values]) => [name, isRepeated ? ['red', ...values] : values]),
        );
        const question = questionOf({ ...item, context, keyPolicy: { Version: '2012-10-17', Statement } });
        const { statements = [] } = question.keyPolicy ?? {};
        const first = firstThatHolds(fileStatements(statements), question);
        found.add(first?.index);
        expect(first).toEqual(goThrough(statements, question));
      }),
      { numRuns: 3000 },
    );
    for (const index of [undefined, 0, 1, 2, 3]) expect(found).toContain(index);
  });
});

describe('of a policy of 150 statements, those with', () => {
  const context: ConditionValues = {
    valuesOf: ({ name }: ConditionKey) =>
      ({ 'kms:EncryptionContext': ['app-7'], 'kms:EncryptionContextKeys': ['app-7', 'user'] })[name],
    spend: () => undefined,
  };
  const question: StatementQuestion = {
    principal: root,
    accountId: realm.account,
    resource: keyArn,
    context,
  };

  /** How many statements are asked whether they hold, and which one is found. */
  function lookFor(Condition: (text: string) => object): { readonly asked: number; readonly found?: number } {
    const document = policy(
      ...Array.from({ length: 150 }, (_, index) => ({ ...deny('*', '*'), Condition: Condition(`app-${index}`) })),
    );
    let asked = 0;
    const statements = compile(document).statements.map((statement) => ({
      ...statement,
      holds: (about: StatementQuestion) => {
        asked += 1;
        return statement.holds?.(about) ?? true;
      },
    }));
    const first = firstThatHolds(fileStatements(statements), question);
    return first === undefined ? { asked } : { asked, found: first.index };
  }

  const app = 'kms:EncryptionContext:app';
  test.each<[what: string, asked: number, found: number | undefined, condition: (text: string) => object]>([
    ['a text of their own are one look-up', 1, 7, (text) => ({ StringEquals: { [app]: text } })],
    ['a text that no request has', 0, undefined, (text) => ({ StringEquals: { [app]: `no ${text}` } })],
    ['a text that ignores case', 1, 7, (text) => ({ StringEqualsIgnoreCase: { [app]: text.toUpperCase() } })],
    ['a pattern without wildcards', 1, 7, (text) => ({ StringLike: { [app]: text } })],
    ['two texts', 1, 7, (text) => ({ StringEquals: { [app]: [text, `no ${text}`] } })],
    ['one text for all', 1, 0, () => ({ StringEquals: { [app]: 'app-7' } })],
    [
      'a text and more that does not hold',
      1,
      undefined,
      (text) => ({ StringEquals: { [app]: text }, Bool: { 'kms:GrantIsForAWSResource': 'true' } }),
    ],
    ['a text in a set', 1, 7, (text) => ({ 'ForAnyValue:StringEquals': { 'kms:EncryptionContextKeys': text } })],
    // What can hold without the key, or for values that nobody can list, is asked one by one.
    ['a text or none', 8, 7, (text) => ({ StringEqualsIfExists: { [app]: text } })],
    ['a wildcard', 8, 7, (text) => ({ StringLike: { [app]: `${text}*` } })],
    ['an exception', 1, 0, (text) => ({ StringNotEquals: { [app]: text } })],
    ['three texts', 8, 7, (text) => ({ StringEquals: { [app]: [text, 'a', 'b'] } })],
  ])('%s', (_, asked, found, condition) => {
    expect(lookFor(condition)).toEqual(found === undefined ? { asked } : { asked, found });
  });
});
