/** What the linter finds in trust policies, and in identity policies that are about roles. */

import { describe, expect, test } from 'vitest';
import { lintPolicy } from '../../src/authorization/advice/lint.ts';
import type { Finding } from '../../src/authorization/advice/linted-statement.ts';
import { parsePolicyJson } from '../../src/authorization/language/policy-json.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { actions, fail, warn } from './linting.ts';
import { alice, realm } from './policies.ts';

describe('who may assume a role', () => {
  const trusting = (more: object): readonly Finding[] => {
    const statement = { Effect: 'Allow', Principal: { AWS: alice }, Action: 'sts:AssumeRole', ...more };
    const value = parsePolicyJson(JSON.stringify({ Version: '2012-10-17', Statement: statement }));
    return lintPolicy(value, { kind: 'trust policy', realm, vocabulary: conditionVocabulary, actions, nowMs: 0 });
  };
  const at = (operator: string, key: string): string => `Statement[0].Condition.${operator}["${key}"]`;

  test.each<[string, object, readonly Finding[]]>([
    ['nothing', { Condition: { StringEquals: { 'sts:ExternalId': 'x' } } }, []],
    ['everybody', { Principal: '*' }, [warn('Statement[0].Principal', 'public: everybody who can connect is allowed')]],
    [
      'nothing where a condition says who',
      { Principal: '*', Condition: { StringEquals: { 'drawbridge:UnixUser': 'ci' } } },
      [],
    ],
    [
      'an action that nobody can have',
      { Action: ['sts:AssumeRole', 'sts:TagSession'] },
      [warn('Statement[0].Action', '"sts:TagSession" is no action that can be had here and never matches')],
    ],
    [
      'a service',
      { Principal: { Service: 'ec2.amazonaws.com' } },
      [warn('Statement[0].Principal', '"ec2.amazonaws.com" never matches: no AWS service calls this daemon')],
    ],
    [
      'a key that is about keys',
      { Condition: { StringEquals: { 'kms:KeySpec': 'RSA_2048' } } },
      [
        warn(
          at('StringEquals', 'kms:KeySpec'),
          'no request for sts:AssumeRole has this key, so that the condition never holds, and neither does the statement',
        ),
      ],
    ],
    [
      'a misspelt key',
      { Condition: { StringEquals: { 'sts:ExternalID2': 'x' } } },
      [
        fail(
          'Policy',
          'it is refused: Statement[0].Condition.StringEquals["sts:ExternalID2"]: "sts:ExternalID2" is not a condition key.',
        ),
      ],
    ],
    [
      'a resource',
      { Resource: '*' },
      [fail('Policy', 'it is refused: Statement[0]: a trust policy has no element Resource: it is about its role.')],
    ],
    [
      'an action of KMS',
      { Action: 'kms:Decrypt' },
      [
        fail(
          'Policy',
          'it is refused: Statement[0].Action: AssumeRole policy may only specify STS AssumeRole actions.',
        ),
      ],
    ],
  ])('is found to have %s', (_, more, findings) => {
    expect(trusting(more)).toEqual(findings);
  });

  test('is no mistake in an identity policy', () => {
    const statement = { Effect: 'Allow', Action: 'sts:AssumeRole', Resource: 'arn:aws:iam::000000000000:role/ci/*' };
    const value = parsePolicyJson(JSON.stringify({ Version: '2012-10-17', Statement: statement }));
    const options = { kind: 'identity policy', realm, vocabulary: conditionVocabulary, actions, nowMs: 0 } as const;
    expect(lintPolicy(value, options)).toEqual([]);
  });
});
