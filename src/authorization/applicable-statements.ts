/**
 * What a policy says of one action on one resource, by principal: the part of a decision that is the same for every
 * request with that action.
 *
 * A key policy is asked about one resource, its key, and a few dozen actions, so all answers are kept, and a policy of
 * 32 KB decides as fast as a short one. The memory is bounded by `maxRememberedActions`; answers beyond that, and for a
 * second resource, are computed each time.
 */

import type { CompiledStatement } from './compiled-policy.ts';

export interface StatementsByPrincipal {
  readonly anyone: readonly CompiledStatement[];
  readonly account: readonly CompiledStatement[];
  readonly named: ReadonlyMap<string, readonly CompiledStatement[]>;
}

export interface ApplicableStatements {
  readonly denies: StatementsByPrincipal;
  readonly allows: StatementsByPrincipal;
}

/** More than KMS has actions (54 in 2025). */
const maxRememberedActions = 128;

export function rememberApplicable(
  statements: readonly CompiledStatement[],
): (action: string, resource: string) => ApplicableStatements {
  const remembered = new Map<string, { readonly resource: string; readonly applicable: ApplicableStatements }>();
  return (action, resource) => {
    const known = remembered.get(action);
    if (known?.resource === resource) return known.applicable;
    const applicable = selectApplicable(statements, action, resource);
    if (known === undefined && remembered.size < maxRememberedActions) remembered.set(action, { resource, applicable });
    return applicable;
  };
}

/** Actions are compared without regard to case, resources with it: IAM user guide, "Action" and "Resource". */
function selectApplicable(
  statements: readonly CompiledStatement[],
  action: string,
  resource: string,
): ApplicableStatements {
  const lowerCaseAction = action.toLowerCase();
  const applicable = statements.filter(
    ({ matchesAction, matchesResource }) => matchesAction(lowerCaseAction) && matchesResource(resource),
  );
  return {
    denies: byPrincipal(applicable.filter(({ effect }) => effect === 'Deny')),
    allows: byPrincipal(applicable.filter(({ effect }) => effect === 'Allow')),
  };
}

function byPrincipal(statements: readonly CompiledStatement[]): StatementsByPrincipal {
  const named = new Map<string, CompiledStatement[]>();
  for (const statement of statements) {
    for (const arn of statement.principals.named) {
      const list = named.get(arn);
      if (list === undefined) named.set(arn, [statement]);
      else list.push(statement);
    }
  }
  return {
    anyone: statements.filter(({ principals }) => principals.anyone),
    account: statements.filter(({ principals }) => principals.account),
    named,
  };
}
