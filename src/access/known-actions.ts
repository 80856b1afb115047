/** The actions that policies can be about, with the condition keys that requests for them have: drawn from the table. */

import type { KnownAction } from '../authorization/advice/linted-statement.ts';
import type { ConditionKey } from '../authorization/language/condition-vocabulary.ts';
import { operations, unbuiltOperations } from '../operations/find-operation.ts';
import { conditionKeys } from '../pipeline/condition-key-table.ts';
import { assumeRoleConditions } from '../pipeline/role-assumption.ts';

interface Facts {
  isOnKey: boolean;
  readonly conditions: Set<string>;
  /** Of operations that this version does not have, nobody knows yet. */
  readonly isUnbuilt: boolean;
}

/** Every permission of every operation, and of AssumeRole; those of operations that are not built are taken for permissions on keys. */
export function knownActions(): readonly KnownAction[] {
  const facts = new Map<string, Facts>();
  const take = (action: string, isOnKey: boolean, conditions: readonly string[], isUnbuilt = false): void => {
    const known = facts.get(action) ?? { isOnKey: false, conditions: new Set<string>(), isUnbuilt };
    known.isOnKey ||= isOnKey;
    for (const name of conditions) known.conditions.add(name);
    facts.set(action, known);
  };
  for (const { needs } of operations) {
    for (const { action, conditions = [] } of needs.resources ?? []) take(action, false, conditions);
    for (const need of Object.values(needs.keys ?? {})) {
      take(need.action, need.retires === undefined, need.conditions ?? []);
    }
  }
  for (const action of ['sts:AssumeRole', 'sts:SetSourceIdentity']) take(action, false, assumeRoleConditions);
  for (const name of unbuiltOperations) if (!facts.has(`kms:${name}`)) take(`kms:${name}`, true, [], true);
  return [...facts].map(([action, known]) => ({
    action,
    isOnKey: known.isOnKey,
    hasKey: (key) => hasKey(known, key),
  }));
}

const placeOf = new Map(conditionKeys.map(({ name, on }) => [name, on]));

function hasKey({ isOnKey, conditions, isUnbuilt }: Facts, { name }: ConditionKey): boolean {
  const on = placeOf.get(name);
  if (on === undefined || on === 'never') return false;
  return isUnbuilt || on === 'always' || conditions.has(name) || (on === 'key' && isOnKey);
}
