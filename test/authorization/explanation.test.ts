/** Explanations: what they say in examples, and that what they propose helps, whatever the policies. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { explain, type Remedy } from '../../src/authorization/advice/explanation.ts';
import { decide } from '../../src/authorization/decide.ts';
import type { AccessQuestion } from '../../src/authorization/decision.ts';
import type { CompiledPolicy } from '../../src/authorization/language/compiled-policy.ts';
import { unbounded } from '../../src/authorization/language/work-budget.ts';
import { anyCase, type Case, questionOf, type RandomStatement } from './arbitrary-policies.ts';
import { alice, allow, bob, compile, deny, keyArn, policy, principal, realm, root } from './policies.ts';

const numRuns = 1000;

function questionAbout(document: string | undefined, more: Partial<AccessQuestion> = {}): AccessQuestion {
  return {
    principal: alice,
    accountId: realm.account,
    action: 'kms:Decrypt',
    resource: keyArn,
    keyPolicy: document === undefined ? undefined : compile(document),
    identityPolicies: [],
    context: { ...unbounded, valuesOf: ({ name }) => (name === 'kms:KeySpec' ? ['RSA_2048'] : undefined) },
    ...more,
  };
}

const onlyFor = (keySpec: string, statement: object): object => ({
  ...statement,
  Condition: { StringEquals: { 'kms:KeySpec': keySpec } },
});
const forAlice = { Effect: 'Allow', Principal: { AWS: alice }, Action: 'kms:Decrypt', Resource: '*' };
const forRoot = { ...forAlice, Principal: { AWS: root } };
const fileForAlice = {
  AttachedTo: [alice],
  PolicyDocument: {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: 'kms:Decrypt', Resource: keyArn }],
  },
};
const grant: Remedy = { kind: 'create a grant', operation: 'Decrypt' };

const unmet = {
  element: 'Condition',
  operator: 'StringEquals',
  key: 'kms:KeySpec',
  expected: ['HMAC_256'],
  actual: ['RSA_2048'],
  holds: false,
} as const;

describe('who is refused is told what would let him in', () => {
  const cases: readonly [string, string | undefined, readonly Remedy[]][] = [
    [
      'where nothing is about him: a statement, a delegation with an identity policy, or a grant',
      policy(allow(bob, 'kms:*')),
      [
        { kind: 'add to the key policy', keyPolicyStatement: forAlice },
        {
          kind: 'delegate to the account and attach an identity policy',
          keyPolicyStatement: forRoot,
          identityPolicy: fileForAlice,
        },
        grant,
      ],
    ],
    [
      'where the key policy delegates: an identity policy first',
      policy(allow(root, 'kms:*')),
      [
        { kind: 'attach an identity policy', identityPolicy: fileForAlice },
        { kind: 'add to the key policy', keyPolicyStatement: forAlice },
        grant,
      ],
    ],
    [
      'where there is no key policy: an identity policy alone',
      undefined,
      [{ kind: 'attach an identity policy', identityPolicy: fileForAlice }],
    ],
    [
      'where a statement denies what another one allows: the end of the denial alone',
      policy(allow(alice, 'kms:*'), { Sid: 'no', ...deny('*', 'kms:Decrypt') }),
      [{ kind: 'end the denial', statement: { index: 1, sid: 'no' } }],
    ],
    [
      'where a condition does not hold: what it wants and what the request has',
      policy(allow(root, 'kms:Encrypt'), onlyFor('HMAC_256', allow(alice, 'kms:*'))),
      [
        { kind: 'meet the conditions', statement: { index: 1 }, tests: [unmet] },
        { kind: 'add to the key policy', keyPolicyStatement: forAlice },
        {
          kind: 'delegate to the account and attach an identity policy',
          keyPolicyStatement: forRoot,
          identityPolicy: fileForAlice,
        },
        grant,
      ],
    ],
  ];
  test.each(cases)('%s', (_name, document, remedies) => {
    const { decision, ...explanation } = explain(questionAbout(document), 'Decrypt');
    expect(decision.allowed).toBe(false);
    expect(explanation.remedies).toEqual(remedies);
    expect(explanation.allowedBy).toEqual([]);
  });

  test('and of an operation that no grant can allow, no grant is proposed', () => {
    const { remedies } = explain(questionAbout(policy(allow(bob, 'kms:*'))), undefined);
    expect(remedies.map(({ kind }) => kind)).not.toContain('create a grant');
  });
});

test('who is allowed is told everything that allows him, in the order in which it would decide', () => {
  const document = policy(allow(root, 'kms:*'), { Sid: 'first', ...allow(alice, 'kms:*') }, allow('*', 'kms:Decrypt'));
  const identityPolicies = [compile(policy({ Sid: 'mine', ...allow('*', 'kms:Decrypt') }))];
  const { allowedBy } = explain(
    questionAbout(document, { identityPolicies, findGrant: () => ({ grantId: 'abc' }) }),
    'Decrypt',
  );
  expect(allowedBy).toEqual([
    'key policy statement 2',
    'key policy statement "first"',
    'grant abc',
    'key policy statement "mine"',
  ]);
});

test('statements are reported where they concern action, resource and principal, and no others', () => {
  const document = policy(
    allow(bob, 'kms:*'),
    allow(alice, 'kms:Encrypt'),
    allow(root, 'kms:*'),
    onlyFor('HMAC_256', deny('*', 'kms:*')),
    allow(alice, 'kms:*', 'arn:aws:kms:us-east-1:000000000000:key/other'),
  );
  expect(explain(questionAbout(document), 'Decrypt').statements).toEqual([
    { statement: { index: 2 }, effect: 'Delegate', applies: true, tests: [] },
    { statement: { index: 3 }, effect: 'Deny', applies: false, tests: [unmet] },
  ]);
});

test('an explanation never says another decision than the one that is made', () => {
  fc.assert(
    fc.property(anyCase, (item) => {
      const question = questionOf(item);
      const { decision, allowedBy, statements } = explain(question, 'Decrypt');
      expect(decision).toEqual(decide(question));
      if (decision.allowed) expect(allowedBy[0]).toBe(decision.because);
      const denies = statements.some(({ effect, applies }) => effect === 'Deny' && applies);
      expect(denies).toBe(!decision.allowed && decision.by.startsWith('denied'));
    }),
    { numRuns },
  );
});

test('whoever ends the denials and then does one of the things proposed lets the principal in', () => {
  let tried = 0;
  fc.assert(
    fc.property(anyCase, (item) => {
      for (const changed of remedied(item)) {
        tried++;
        expect(decide(questionOf(changed)).allowed).toBe(true);
      }
    }),
    { numRuns },
  );
  expect(tried).toBeGreaterThan(numRuns / 10);
});

/** The case once for each remedy that is a document, with it. */
function remedied(item: Case): readonly Case[] {
  const question = questionOf(item);
  const { decision, remedies } = explain(question, undefined);
  if (decision.allowed) return [];
  const ended = new Set(remedies.flatMap((remedy) => (remedy.kind === 'end the denial' ? [remedy.statement] : [])));
  const without = (
    statements: readonly RandomStatement[],
    compiled: CompiledPolicy | undefined,
  ): readonly RandomStatement[] =>
    statements.filter((_, index) => {
      const reference = compiled?.statements[index]?.reference;
      return reference === undefined || !ended.has(reference);
    });
  const undenied: Case = {
    ...item,
    keyPolicy: item.keyPolicy && {
      ...item.keyPolicy,
      Statement: without(item.keyPolicy.Statement, question.keyPolicy),
    },
    identityPolicies: item.identityPolicies.map((one, index) => {
      return { ...one, Statement: without(one.Statement, question.identityPolicies[index]) };
    }),
  };
  const others = remedies.filter(({ kind }) => kind !== 'end the denial' && kind !== 'meet the conditions');
  if (others.length === 0) return [withSomething(undenied)];
  return others.map((remedy) => {
    const added = 'keyPolicyStatement' in remedy ? [remedy.keyPolicyStatement as RandomStatement] : [];
    const attached = 'identityPolicy' in remedy ? [remedy.identityPolicy as typeof fileForAlice] : [];
    return withSomething({
      ...undenied,
      keyPolicy: undenied.keyPolicy && {
        ...undenied.keyPolicy,
        Statement: [...undenied.keyPolicy.Statement, ...added],
      },
      identityPolicies: [
        ...undenied.identityPolicies,
        ...attached.map(({ PolicyDocument }) => PolicyDocument as unknown as Case['identityPolicies'][number]),
      ],
    });
  });
}

/** A document has at least one statement: one about somebody else changes nothing. */
function withSomething(item: Case): Case {
  const nobody = { Effect: 'Allow', Principal: { AWS: principal('arn:aws:iam::000000000000:user/nobody') } } as const;
  const idle = { Effect: 'Allow', Action: 'kms:Nothing', Resource: '*' } as const;
  const filled = <Document extends { readonly Statement: readonly RandomStatement[] }>(
    document: Document,
    statement: RandomStatement,
  ): Document => (document.Statement.length > 0 ? document : { ...document, Statement: [statement] });
  return {
    ...item,
    keyPolicy: item.keyPolicy && filled(item.keyPolicy, nobody),
    identityPolicies: item.identityPolicies.map((one) => filled(one, idle)),
  };
}
