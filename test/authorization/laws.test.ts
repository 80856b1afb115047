/** What holds for every policy, on random documents and requests; the alphabets are small, so that they often meet. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decide } from '../../src/authorization/decide.ts';
import type { Decision } from '../../src/authorization/decision.ts';
import {
  anyCase,
  anyKeyPolicy,
  anyStatement,
  type Case,
  documentOf,
  naiveRequestOf,
  questionOf,
  type RandomStatement,
} from './arbitrary-policies.ts';
import { evaluateNaively } from './naive-evaluator.ts';

/** More in a long run: `DRAWBRIDGE_PROPERTY_RUNS=1000000`. */
const comparisonCount = Number(process.env['DRAWBRIDGE_PROPERTY_RUNS'] ?? 6_000);
const numRuns = Math.ceil(comparisonCount / 10);
const timeoutMs = Math.max(180_000, comparisonCount * 5);

const decisionOf = (item: Case): Decision => decide(questionOf(item));
const isAllowed = (item: Case): boolean => decisionOf(item).allowed;

function outcomeOf(decision: Decision): 'allow' | 'explicit deny' | 'implicit deny' {
  if (decision.allowed) return 'allow';
  return decision.by.startsWith('denied') ? 'explicit deny' : 'implicit deny';
}

test(
  'the decision is the one of a naive reading of the documentation',
  () => {
    const outcomes = new Map<string, number>();
    fc.assert(
      fc.property(anyCase, (item) => {
        const decision = decisionOf(item);
        outcomes.set(decision.by, (outcomes.get(decision.by) ?? 0) + 1);
        const keyPolicy = item.keyPolicy === undefined ? undefined : documentOf(item.keyPolicy);
        expect(outcomeOf(decision)).toBe(
          evaluateNaively(keyPolicy, naiveRequestOf(item), item.identityPolicies.map(documentOf)),
        );
      }),
      { numRuns: comparisonCount },
    );
    // A comparison of refusals alone would show little: every outcome has to be a good part of the cases.
    for (const outcome of ['key policy', 'identity policy', 'denied by key policy', 'denied by identity policy']) {
      expect([outcome, (outcomes.get(outcome) ?? 0) > comparisonCount / 50]).toEqual([outcome, true]);
    }
  },
  timeoutMs,
);

const withStatements = (item: Case, statements: readonly RandomStatement[]): Case => ({
  ...item,
  keyPolicy: { ...(item.keyPolicy ?? { Version: '2012-10-17' }), Statement: statements },
});
const statementsOf = ({ keyPolicy }: Case): readonly RandomStatement[] => keyPolicy?.Statement ?? [];
const anyCaseOfKey = fc.tuple(anyCase, anyKeyPolicy).map(([item, keyPolicy]) => ({ ...item, keyPolicy }));

test(
  'an added Deny never allows',
  () => {
    fc.assert(
      fc.property(anyCaseOfKey, anyStatement, (item, added) => {
        fc.pre(!isAllowed(item));
        expect(isAllowed(withStatements(item, [...statementsOf(item), { ...added, Effect: 'Deny' }]))).toBe(false);
      }),
      { numRuns },
    );
  },
  timeoutMs,
);

test(
  'an added identity policy of denials never allows',
  () => {
    fc.assert(
      fc.property(anyCaseOfKey, fc.array(anyStatement, { minLength: 1, maxLength: 3 }), (item, added) => {
        fc.pre(!isAllowed(item));
        const Statement = added.map(({ Principal, NotPrincipal, ...rest }) => ({ ...rest, Effect: 'Deny' as const }));
        const identityPolicies = [...item.identityPolicies, { Version: '2012-10-17', Statement }];
        expect(isAllowed({ ...item, identityPolicies })).toBe(false);
      }),
      { numRuns },
    );
  },
  timeoutMs,
);

test(
  'removing an Allow never allows',
  () => {
    fc.assert(
      fc.property(anyCaseOfKey, fc.nat(), (item, at) => {
        const statements = statementsOf(item);
        const index = at % statements.length;
        fc.pre(statements.length > 1 && statements[index]?.Effect === 'Allow' && !isAllowed(item));
        expect(isAllowed(withStatements(item, statements.toSpliced(index, 1)))).toBe(false);
      }),
      { numRuns },
    );
  },
  timeoutMs,
);

test(
  'the order of statements and of identity policies is irrelevant',
  () => {
    fc.assert(
      fc.property(anyCaseOfKey, (item) => {
        const reversed = withStatements(item, statementsOf(item).toReversed());
        const shuffled = { ...reversed, identityPolicies: item.identityPolicies.toReversed() };
        expect(outcomeOf(decisionOf(shuffled))).toBe(outcomeOf(decisionOf(item)));
      }),
      { numRuns },
    );
  },
  timeoutMs,
);

test(
  'a statement that denies the request wins over any others',
  () => {
    fc.assert(
      fc.property(anyCaseOfKey, fc.nat(5), (item, at) => {
        const denial = { Effect: 'Deny', Principal: '*', Action: item.action, Resource: item.resource } as const;
        expect(decisionOf(withStatements(item, statementsOf(item).toSpliced(at, 0, denial)))).toMatchObject({
          allowed: false,
          message: expect.stringMatching(/with an explicit deny in a resource-based policy$/),
        });
      }),
      { numRuns },
    );
  },
  timeoutMs,
);

test(
  'widening the resource of an Allow never refuses',
  () => {
    fc.assert(
      fc.property(anyCaseOfKey, fc.nat(), (item, at) => {
        const statements = statementsOf(item);
        const widened = statements[at % statements.length];
        fc.pre(widened?.Effect === 'Allow' && isAllowed(item));
        const changed = statements.map((statement) => {
          if (statement !== widened) return statement;
          const { NotResource, ...rest } = statement;
          return { ...rest, Resource: '*' };
        });
        expect(isAllowed(withStatements(item, changed))).toBe(true);
      }),
      { numRuns },
    );
  },
  timeoutMs,
);

test(
  'dropping the condition of an Allow never refuses, and that of a Deny never allows',
  () => {
    fc.assert(
      fc.property(anyCaseOfKey, fc.nat(), (item, at) => {
        const statements = statementsOf(item);
        const chosen = statements[at % statements.length];
        const before = isAllowed(item);
        fc.pre(chosen !== undefined && (chosen.Effect === 'Allow') === before);
        const changed = statements.map((statement) => {
          if (statement !== chosen) return statement;
          const { Condition, ...rest } = statement;
          return rest;
        });
        expect(isAllowed(withStatements(item, changed))).toBe(before);
      }),
      { numRuns },
    );
  },
  timeoutMs,
);
