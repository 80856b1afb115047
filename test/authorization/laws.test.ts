/** What holds for every policy, on random documents and requests; the alphabets are small, so that they often meet. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { evaluateNaively } from './naive-evaluator.ts';
import { alice, allow, ask, bob, keyArn, otherKeyArn, policy, realm, root, type Statement } from './policies.ts';

/** More in a long run: `DRAWBRIDGE_PROPERTY_RUNS=1000000`. */
const comparisonCount = Number(process.env['DRAWBRIDGE_PROPERTY_RUNS'] ?? 10_000);
const numRuns = comparisonCount / 5;

const someOf = <T>(...values: readonly T[]): fc.Arbitrary<T | T[]> =>
  fc.oneof(fc.constantFrom(...values), fc.array(fc.constantFrom(...values), { minLength: 1, maxLength: 3 }));

const statement: fc.Arbitrary<Statement> = fc.record({
  Effect: fc.constantFrom('Allow', 'Deny'),
  Principal: fc.oneof(
    { weight: 1, arbitrary: fc.constant('*' as const) },
    {
      weight: 6,
      arbitrary: fc.record({ AWS: someOf<string>(alice, bob, root, realm.account, '*', '111122223333', `${alice}x`) }),
    },
  ),
  Action: someOf('kms:Encrypt', 'kms:Decrypt', 'kms:*', 'kms:?ncrypt', 'KMS:de*', '*', 'kms:*crypt', 's3:*', 'k*:E*t'),
  Resource: someOf(
    '*',
    keyArn,
    otherKeyArn,
    'arn:aws:kms:us-east-1:000000000000:key/*',
    'arn:aws:kms:*:*:key/1234*',
    'arn:aws:kms:*',
    'arn:aws:s3:::bucket',
    keyArn.replace('ab', '??'),
  ),
});
const statements = fc.array(statement, { minLength: 1, maxLength: 5 });
const request = fc.record({
  principal: fc.constantFrom(alice, bob, root),
  action: fc.constantFrom('kms:Encrypt', 'kms:Decrypt', 'kms:DescribeKey', 'kms:PutKeyPolicy'),
  resource: fc.constantFrom(keyArn, otherKeyArn),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

const decision = (list: readonly Statement[], { principal, action, resource }: Request) =>
  ask(policy(...list), principal, action, resource);
const allowed = (list: readonly Statement[], asked: Request): boolean => decision(list, asked).allowed;

test('the decision is the one of a naive reading of the documentation', () => {
  fc.assert(
    fc.property(statements, request, (list, asked) => {
      const { allowed, ...reason } = decision(list, asked);
      const explicit =
        'message' in reason && reason.message.endsWith('with an explicit deny in a resource-based policy');
      expect(allowed ? 'allow' : explicit ? 'explicit deny' : 'implicit deny').toBe(
        evaluateNaively(policy(...list), { ...asked, account: realm.account }),
      );
    }),
    { numRuns: comparisonCount },
  );
});

test('an added Deny never allows', () => {
  fc.assert(
    fc.property(statements, statement, request, (list, added, asked) => {
      fc.pre(!allowed(list, asked));
      expect(allowed([...list, { ...added, Effect: 'Deny' }], asked)).toBe(false);
    }),
    { numRuns },
  );
});

test('removing an Allow never allows', () => {
  fc.assert(
    fc.property(statements, fc.nat(), request, (list, at, asked) => {
      const index = at % list.length;
      fc.pre(list.length > 1 && list[index]?.Effect === 'Allow' && !allowed(list, asked));
      expect(allowed(list.toSpliced(index, 1), asked)).toBe(false);
    }),
    { numRuns },
  );
});

test('the order of statements is irrelevant', () => {
  fc.assert(
    fc.property(statements, request, fc.infiniteStream(fc.nat()), (list, asked, random) => {
      const shuffled = list.map((item) => ({ item, key: random.next().value })).sort((a, b) => a.key - b.key);
      expect(
        allowed(
          shuffled.map(({ item }) => item),
          asked,
        ),
      ).toBe(allowed(list, asked));
    }),
    { numRuns },
  );
});

test('a statement that denies the request wins over any others', () => {
  fc.assert(
    fc.property(statements, request, fc.nat(5), (list, asked, at) => {
      const denial: Statement = { ...allow(asked.principal, asked.action, asked.resource), Effect: 'Deny' };
      expect(decision(list.toSpliced(at, 0, denial), asked)).toMatchObject({
        allowed: false,
        message: expect.stringMatching(/with an explicit deny in a resource-based policy$/),
      });
    }),
    { numRuns },
  );
});

test('widening the resource of an Allow never refuses', () => {
  fc.assert(
    fc.property(statements, fc.nat(), request, (list, at, asked) => {
      const index = at % list.length;
      const widened = list[index];
      fc.pre(widened?.Effect === 'Allow' && allowed(list, asked));
      expect(
        allowed(
          list.map((item) => (item === widened ? { ...item, Resource: '*' } : item)),
          asked,
        ),
      ).toBe(true);
    }),
    { numRuns },
  );
});
