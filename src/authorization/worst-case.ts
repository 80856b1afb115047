/**
 * What a policy costs those who are judged by it, at most: known from its text, and bounded when it is put.
 *
 * A decision may not compute more than its budget (`language/work-budget.ts`); a policy that alone could take it would have
 * requests refused whose values are long. So it is refused to who puts it. One that is in force already stays in force: what
 * it denies must not become allowed.
 */

import { maxPolicySteps } from '../kms/budgets.ts';
import type { CompiledPolicy } from './language/compiled-policy.ts';
import type { CompiledStatement } from './language/compiled-statement.ts';
import { malformed } from './language/policy-values.ts';

/** @throws KmsError MalformedPolicyDocumentException, which names the statement that costs most. */
export function assertAffordable({ statements }: CompiledPolicy): void {
  const steps = maxStepsOf(statements);
  if (steps <= maxPolicySteps) return;
  const dearest = statements.reduce((most, statement) => (statement.steps > most.steps ? statement : most));
  const { index, sid } = dearest.reference;
  const whole = statements.length === 1 ? '' : `, and that of the whole policy ${steps},`;
  throw malformed(
    `Statement[${index}]${sid === undefined ? '' : ` (${JSON.stringify(sid)})`}`,
    `comparing it with the longest values that a request can have takes up to ${dearest.steps} steps${whole} of the ${maxPolicySteps} that a policy may take; use fewer patterns that have text or "?" between two "*", or StringEquals, or patterns whose only "*" is at the beginning or at the end`,
  );
}

/**
 * For one decision: a caller is himself, of the account, and perhaps a session of a role. What names others is not looked at.
 */
export function maxStepsOf(statements: readonly CompiledStatement[]): number {
  let ofAll = 0;
  const byName = new Map<string, number>();
  for (const { principals, steps } of statements) {
    ofAll += (Number(principals.anyone) + Number(principals.account)) * steps;
    for (const name of principals.named) byName.set(name, (byName.get(name) ?? 0) + steps);
  }
  let first = 0;
  let second = 0;
  for (const steps of byName.values()) {
    if (steps > first) [first, second] = [steps, first];
    else if (steps > second) second = steps;
  }
  return ofAll + first + second;
}
