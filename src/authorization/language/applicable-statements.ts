/**
 * What a policy says of one action on one resource, by principal: the part of a decision that is the same for every
 * request with that action.
 *
 * A key policy is asked about one resource, its key, and a few dozen actions; an identity policy about many resources.
 * Answers are remembered, so that a policy of 32 KB decides as fast as a short one. The memory is bounded by
 * `maxRememberedAnswers`; when it is full it starts anew, so that nobody can fill it once and for all.
 */

import type { CompiledStatement } from './compiled-statement.ts';
import { type FiledStatements, fileStatements } from './filed-statements.ts';

export interface StatementsByPrincipal {
  readonly anyone: FiledStatements;
  /** `undefined`: no statement names the account. */
  readonly account: FiledStatements | undefined;
  readonly named: ReadonlyMap<string, FiledStatements>;
}

export interface ApplicableStatements {
  readonly denies: StatementsByPrincipal;
  readonly allows: StatementsByPrincipal;
}

/** Several times the actions that KMS has, which are fewer than 60. */
const maxRememberedAnswers = 512;

interface Answer {
  readonly resource: string;
  readonly applicable: ApplicableStatements;
}

export function rememberApplicable(
  statements: readonly CompiledStatement[],
): (action: string, resource: string) => ApplicableStatements {
  /** By action: about the resource that was asked about first. */
  const first = new Map<string, Answer>();
  /** By action and resource: the others. */
  const others = new Map<string, ApplicableStatements>();
  return (action, resource) => {
    const known = first.get(action);
    if (known?.resource === resource) return known.applicable;
    if (known !== undefined) {
      const name = `${action} ${resource}`;
      const other = others.get(name);
      if (other !== undefined) return other;
      const applicable = selectApplicable(statements, action, resource);
      if (others.size >= maxRememberedAnswers) others.clear();
      others.set(name, applicable);
      return applicable;
    }
    const applicable = selectApplicable(statements, action, resource);
    if (first.size >= maxRememberedAnswers) first.clear();
    first.set(action, { resource, applicable });
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
  const ofAccount = statements.filter(({ principals }) => principals.account);
  return {
    anyone: fileStatements(statements.filter(({ principals }) => principals.anyone)),
    account: ofAccount.length === 0 ? undefined : fileStatements(ofAccount),
    named: new Map([...named].map(([arn, list]) => [arn, fileStatements(list)])),
  };
}
