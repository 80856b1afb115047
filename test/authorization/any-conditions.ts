/** Conditions on keys of any name, and whether they hold for a request with given values. */

import { decide } from '../../src/authorization/decide.ts';
import type { ConditionKey } from '../../src/authorization/language/condition-vocabulary.ts';
import { parsePolicyDocument } from '../../src/authorization/language/policy-document.ts';
import { unbounded, type WorkBudget } from '../../src/authorization/language/work-budget.ts';
import { alice, allow, deny, keyArn, realm } from './policies.ts';

export type Values = readonly string[] | undefined;

/** Does the condition hold for a request with this context? Keys of several values are those that end in `s`. */
export function holds(
  Condition: object,
  context: Readonly<Record<string, Values>>,
  Version = '2012-10-17',
  budget: WorkBudget = unbounded,
): boolean {
  return allows([{ ...allow(alice, 'kms:*'), Condition }], context, Version, budget);
}

/** Does the condition of a statement that denies hold? */
export function denies(Condition: object, context: Readonly<Record<string, Values>>): boolean {
  return !allows([allow(alice, 'kms:*'), { ...deny(alice, 'kms:*'), Condition }], context, '2012-10-17', unbounded);
}

function allows(
  Statement: readonly object[],
  context: Readonly<Record<string, Values>>,
  Version: string,
  budget: WorkBudget,
): boolean {
  const document = JSON.stringify({ Version, Statement });
  return decide({
    principal: alice,
    accountId: realm.account,
    action: 'kms:Encrypt',
    resource: keyArn,
    keyPolicy: parsePolicyDocument(document, realm, (name) => ({
      name: name.toLowerCase(),
      type: 'String',
      isMultivalued: name.endsWith('s'),
    })),
    identityPolicies: [],
    context: { spend: budget.spend, valuesOf: ({ name }: ConditionKey) => context[name] },
  }).allowed;
}

/** A policy variable, written so that no reader takes it for a template. */
export const variable = (text: string): string => `$${text}`;
