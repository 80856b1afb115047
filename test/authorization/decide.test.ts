import { describe, expect, test } from 'vitest';
import { decide as decideQuestion } from '../../src/authorization/decide.ts';
import type { AccessQuestion } from '../../src/authorization/decision.ts';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import { noContext } from '../../src/authorization/language/condition-vocabulary.ts';
import type { PrincipalArn } from '../../src/kms/names.ts';
import {
  alice,
  allow,
  ask,
  bob,
  compile,
  deny,
  keyArn,
  otherKeyArn,
  policy,
  principal,
  realm,
  root,
  type Statement,
} from './policies.ts';

/** Of requests without a context, by callers without identity policies. */
const decide = (question: Omit<AccessQuestion, 'identityPolicies' | 'context'>) =>
  decideQuestion({ ...question, identityPolicies: [], context: noContext });

type Outcome = 'allowed' | 'denied' | 'not in key policy' | 'not in identity policies';

/** Who is it, may he, and why: one row is one request. */
const to = (who: PrincipalArn, action: string, outcome: Outcome, resource: string = keyArn) => ({
  who,
  action: `kms:${action}`,
  outcome,
  resource,
});

interface Case {
  readonly name: string;
  readonly statements: readonly Statement[];
  readonly requests: readonly ReturnType<typeof to>[];
}

const account = root;
const foreign = 'arn:aws:iam::111122223333:user/alice';
const batch = principal('arn:aws:iam::000000000000:role/batch');

const cases: readonly Case[] = [
  {
    name: 'one user may do the one thing that a statement allows',
    statements: [allow(alice, 'kms:Encrypt')],
    requests: [
      to(alice, 'Encrypt', 'allowed'),
      to(alice, 'Decrypt', 'not in key policy'),
      to(bob, 'Encrypt', 'not in key policy'),
      to(root, 'Encrypt', 'not in key policy'),
    ],
  },
  {
    name: 'the account as a principal is its root for the root, and delegation for everyone else',
    statements: [allow(account, 'kms:*')],
    requests: [
      to(root, 'Encrypt', 'allowed'),
      to(root, 'PutKeyPolicy', 'allowed'),
      to(alice, 'Encrypt', 'not in identity policies'),
    ],
  },
  {
    name: 'the account id is the same principal as the account root ARN',
    statements: [allow('000000000000', 'kms:*')],
    requests: [to(root, 'Encrypt', 'allowed'), to(alice, 'Encrypt', 'not in identity policies')],
  },
  {
    name: 'delegation covers the actions of its statement and no others',
    statements: [allow(account, 'kms:Describe*')],
    requests: [
      to(root, 'DescribeKey', 'allowed'),
      to(alice, 'DescribeKey', 'not in identity policies'),
      to(root, 'Encrypt', 'not in key policy'),
      to(alice, 'Encrypt', 'not in key policy'),
    ],
  },
  {
    name: 'everybody is everybody, the root among them',
    statements: [allow('*', 'kms:Encrypt')],
    requests: [
      to(alice, 'Encrypt', 'allowed'),
      to(root, 'Encrypt', 'allowed'),
      to(root, 'Decrypt', 'not in key policy'),
    ],
  },
  {
    name: 'everybody can be written as an AWS principal',
    statements: [{ Effect: 'Allow', Principal: { AWS: '*' }, Action: 'kms:Encrypt', Resource: '*' }],
    requests: [to(alice, 'Encrypt', 'allowed')],
  },
  {
    name: 'a user who is allowed by name needs no delegation',
    statements: [allow(account, 'kms:*'), allow(alice, 'kms:Encrypt')],
    requests: [to(alice, 'Encrypt', 'allowed'), to(alice, 'Decrypt', 'not in identity policies')],
  },
  {
    name: 'a deny for one user wins over an allow for him',
    statements: [allow(alice, 'kms:*'), deny(alice, 'kms:Decrypt')],
    requests: [
      to(alice, 'Encrypt', 'allowed'),
      to(alice, 'Decrypt', 'denied'),
      to(bob, 'Decrypt', 'not in key policy'),
    ],
  },
  {
    name: 'a deny wins wherever it stands',
    statements: [deny(alice, 'kms:Decrypt'), allow('*', 'kms:*')],
    requests: [to(alice, 'Decrypt', 'denied'), to(bob, 'Decrypt', 'allowed')],
  },
  {
    name: 'a deny for everybody denies the root too',
    statements: [allow(account, 'kms:*'), deny('*', 'kms:Decrypt')],
    requests: [to(root, 'Decrypt', 'denied'), to(root, 'Encrypt', 'allowed'), to(alice, 'Decrypt', 'denied')],
  },
  {
    name: 'a deny for the account denies every principal in it',
    statements: [allow('*', 'kms:*'), deny('000000000000', 'kms:Decrypt')],
    requests: [to(root, 'Decrypt', 'denied'), to(alice, 'Decrypt', 'denied'), to(alice, 'Encrypt', 'allowed')],
  },
  {
    name: 'a deny alone allows nobody',
    statements: [deny(alice, 'kms:Decrypt')],
    requests: [to(bob, 'Decrypt', 'not in key policy'), to(alice, 'Encrypt', 'not in key policy')],
  },
  {
    name: 'actions are compared without regard to case',
    statements: [allow(alice, ['KMS:ENCRYPT', 'kms:dEsCrIbE*'])],
    requests: [
      to(alice, 'Encrypt', 'allowed'),
      to(alice, 'DescribeKey', 'allowed'),
      to(alice, 'Decrypt', 'not in key policy'),
    ],
  },
  {
    name: 'wildcards in an action stand for any characters',
    statements: [allow(alice, ['kms:*crypt', 'kms:Generate?ac', 'kms:Re*From'])],
    requests: [
      to(alice, 'Encrypt', 'allowed'),
      to(alice, 'Decrypt', 'allowed'),
      to(alice, 'GenerateMac', 'allowed'),
      to(alice, 'ReEncryptFrom', 'allowed'),
      to(alice, 'ReEncryptTo', 'not in key policy'),
      to(alice, 'GenerateDataKey', 'not in key policy'),
    ],
  },
  {
    name: 'an action of another service is no action of this one',
    statements: [allow(alice, ['s3:*', 'kmsx:*', 'dynamodb:Encrypt'])],
    requests: [to(alice, 'Encrypt', 'not in key policy')],
  },
  {
    name: 'an action that is a star is every action',
    statements: [allow(alice, '*')],
    requests: [to(alice, 'Encrypt', 'allowed')],
  },
  {
    name: 'a resource that is another key leaves the statement without effect',
    statements: [allow(alice, 'kms:*', otherKeyArn), allow(bob, 'kms:*', keyArn)],
    requests: [
      to(alice, 'Encrypt', 'not in key policy'),
      to(alice, 'Encrypt', 'allowed', otherKeyArn),
      to(bob, 'Encrypt', 'allowed'),
    ],
  },
  {
    name: 'resources are compared with regard to case',
    statements: [allow(alice, 'kms:*', keyArn.toUpperCase().replace('ARN:', 'arn:'))],
    requests: [to(alice, 'Encrypt', 'not in key policy')],
  },
  {
    name: 'one of several actions and one of several resources is enough',
    statements: [allow([alice, bob], ['kms:Sign', 'kms:Encrypt'], [otherKeyArn, 'arn:aws:kms:*:*:key/1234*'])],
    requests: [to(alice, 'Encrypt', 'allowed'), to(bob, 'Sign', 'allowed'), to(bob, 'Verify', 'not in key policy')],
  },
  {
    name: 'a principal of another account matches nobody here',
    statements: [allow([foreign, '111122223333', 'arn:aws:iam::111122223333:root'], 'kms:*')],
    requests: [to(alice, 'Encrypt', 'not in key policy'), to(root, 'Encrypt', 'not in key policy')],
  },
  {
    name: 'a service principal matches nobody here',
    statements: [
      {
        Effect: 'Allow',
        Principal: { Service: ['ec2.amazonaws.com', 's3.amazonaws.com'] },
        Action: 'kms:*',
        Resource: '*',
      },
      {
        Effect: 'Allow',
        Principal: { Service: 'logs.us-east-1.amazonaws.com', AWS: bob },
        Action: 'kms:*',
        Resource: '*',
      },
    ],
    requests: [to(alice, 'Encrypt', 'not in key policy'), to(bob, 'Encrypt', 'allowed')],
  },
  {
    name: 'principals are compared exactly',
    statements: [
      allow([alice.replace('alice', 'Alice'), 'arn:aws:iam::000000000000:user/alice', `${alice}2`], 'kms:*'),
    ],
    requests: [to(alice, 'Encrypt', 'not in key policy')],
  },
  {
    name: 'a role is a principal by its ARN',
    statements: [allow(batch, 'kms:Decrypt')],
    requests: [to(batch, 'Decrypt', 'allowed'), to(alice, 'Decrypt', 'not in key policy')],
  },
];

/** The texts that clients match, written out by hand. */
function messageFor(who: string, action: string, resource: string, outcome: Outcome): string | undefined {
  const start = `User: ${who} is not authorized to perform: ${action} on resource: ${resource}`;
  switch (outcome) {
    case 'allowed':
      return undefined;
    case 'denied':
      return `${start} with an explicit deny in a resource-based policy`;
    case 'not in key policy':
      return `${start} because no resource-based policy allows the ${action} action`;
    case 'not in identity policies':
      return `${start} because no identity-based policy allows the ${action} action`;
    default:
      return outcome satisfies never;
  }
}

describe('with a key policy', () => {
  for (const { name, statements, requests } of cases) {
    test(name, () => {
      for (const { who, action, outcome, resource } of requests) {
        const decision = ask(policy(...statements), who, action, resource);
        const message = decision.allowed ? undefined : decision.message;
        expect({ who, action, message }).toEqual({ who, action, message: messageFor(who, action, resource, outcome) });
      }
    });
  }

  test('a policy asked again, about other actions, principals and resources, answers as if asked first', () => {
    const keyPolicy = compile(policy(allow(alice, 'kms:*', keyArn), deny(bob, 'kms:Decrypt')));
    const actions = Array.from({ length: 300 }, (_, index) => `kms:Made${index}`).concat('kms:Decrypt');
    for (let round = 0; round < 2; round++) {
      for (const action of actions) {
        for (const resource of [keyArn, otherKeyArn]) {
          const allowed = (who: PrincipalArn): boolean =>
            decide({ principal: who, accountId: realm.account, action, resource, keyPolicy }).allowed;
          expect([action, resource, allowed(alice), allowed(bob)]).toEqual([
            action,
            resource,
            resource === keyArn,
            false,
          ]);
        }
      }
    }
  });
});

describe('without a key policy', () => {
  const askWithout = (who: PrincipalArn, action: string, resource: string) =>
    decide({ principal: who, accountId: realm.account, action, resource, keyPolicy: undefined });

  test.each([
    ['kms:CreateKey', '*'],
    ['kms:ListKeys', '*'],
    ['kms:ListAliases', '*'],
    ['kms:GenerateRandom', '*'],
    ['kms:CreateAlias', 'arn:aws:kms:us-east-1:000000000000:alias/app'],
    ['kms:DeleteAlias', 'arn:aws:kms:us-east-1:000000000000:alias/app'],
    ['kms:UpdateAlias', 'arn:aws:kms:us-east-1:000000000000:alias/app'],
  ])('%s on %s is for the root of the account alone', (action, resource) => {
    expect(askWithout(root, action, resource)).toEqual({ allowed: true, by: 'account root', because: 'account root' });
    expect(askWithout(alice, action, resource)).toEqual({
      allowed: false,
      by: 'not in identity policies',
      because: 'no identity policy allows',
      message: messageFor(alice, action, resource, 'not in identity policies'),
    });
  });

  test('the root of another account is a stranger', () => {
    const stranger = principal('arn:aws:iam::111122223333:root');
    expect(askWithout(stranger, 'kms:CreateKey', '*').allowed).toBe(false);
    expect(ask(defaultKeyPolicy(realm), stranger, 'kms:Encrypt').allowed).toBe(false);
  });
});

describe('the reason for the record', () => {
  const document = policy({ Sid: 'Root does all', ...allow(root, 'kms:*') }, allow(alice, 'kms:Encrypt'), {
    Sid: 'no "Bob"',
    ...deny(bob, 'kms:*'),
  });

  test.each([
    [root, 'kms:Decrypt', 'key policy statement "Root does all"', { index: 0, sid: 'Root does all' }],
    [alice, 'kms:Encrypt', 'key policy statement 1', { index: 1 }],
    [bob, 'kms:Encrypt', 'key policy statement "no \\"Bob\\"" denies', { index: 2, sid: 'no "Bob"' }],
    [
      alice,
      'kms:Decrypt',
      'key policy statement "Root does all" delegates to the account and no identity policy allows',
      { index: 0, sid: 'Root does all' },
    ],
  ])('names the statement that decided for %s on %s', (who, action, because, statement) => {
    expect(ask(document, who, action)).toMatchObject({ because, statement });
  });

  test('says so where no statement decided', () => {
    const decision = ask(policy(allow(alice, 'kms:Encrypt')), bob, 'kms:Encrypt');
    expect(decision).not.toHaveProperty('statement');
    expect(decision.because).toBe('no statement of the key policy allows');
  });
});

test('the default key policy is AWS’s, to the letter, and gives everything to the root', () => {
  expect(defaultKeyPolicy(realm)).toBe(
    [
      '{',
      '  "Version" : "2012-10-17",',
      '  "Id" : "key-default-1",',
      '  "Statement" : [ {',
      '    "Sid" : "Enable IAM User Permissions",',
      '    "Effect" : "Allow",',
      '    "Principal" : {',
      '      "AWS" : "arn:aws:iam::000000000000:root"',
      '    },',
      '    "Action" : "kms:*",',
      '    "Resource" : "*"',
      '  } ]',
      '}',
    ].join('\n'),
  );
  expect(ask(defaultKeyPolicy(realm), root, 'kms:ScheduleKeyDeletion').allowed).toBe(true);
  expect(ask(defaultKeyPolicy(realm), alice, 'kms:Encrypt').allowed).toBe(false);
});

describe('a statement without Action or Resource', () => {
  const request = { principal: alice, accountId: realm.account, action: 'kms:Encrypt', resource: keyArn };
  const decisionBy = (...statements: readonly object[]) =>
    decide({ ...request, keyPolicy: compile(JSON.stringify({ Statement: statements })) });

  test.each(['Action', 'Resource'])('is taken without %s, and then neither allows nor denies', (missing) => {
    const statement = { Effect: 'Allow', Principal: { AWS: alice }, Action: 'kms:*', Resource: '*' };
    const without = { ...statement, [missing]: undefined };
    expect(decisionBy(without).allowed).toBe(false);
    expect(decisionBy(statement, { ...without, Effect: 'Deny' }).allowed).toBe(true);
  });
});
