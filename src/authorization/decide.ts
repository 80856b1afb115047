/**
 * The decision: may this principal do this to this resource, and which statement says so.
 *
 * In this order, as in AWS: a statement that denies wins over everything; then a statement that allows the principal by
 * its ARN, everybody, or, to the account's root, the account. A statement that allows the account also delegates to the
 * account's identity policies, of which there are none yet, so for others than the root it only changes the reason of the
 * refusal. A statement that denies the account denies every principal in it.
 *
 * Pure and cheap: nothing is parsed or matched here that depends only on policy, action and resource.
 *
 * Source: IAM user guide, "Policy evaluation logic", "AWS JSON policy elements: Principal" (account principals); KMS
 * developer guide, "Default key policy" and "Troubleshooting AWS KMS permissions".
 */

import type { ApplicableStatements } from './applicable-statements.ts';
import type { AccessQuestion, Decision, StatementReference } from './decision.ts';

export function decide(question: AccessQuestion): Decision {
  const { keyPolicy, action, resource } = question;
  if (keyPolicy === undefined) return decideWithoutKeyPolicy(question);
  const statements = keyPolicy.applicableTo(action, resource);
  const denying = findDenying(statements, question);
  if (denying !== undefined) return refuse(question, 'denied', denying);
  const allowing = findAllowing(statements, question);
  if (allowing !== undefined) {
    return { allowed: true, because: `key policy ${describe(allowing)}`, statement: allowing };
  }
  const delegating = statements.allows.account[0]?.reference;
  return delegating === undefined
    ? refuse(question, 'not in key policy', undefined)
    : refuse(question, 'not in identity policies', delegating);
}

/** What no key policy governs is the account's to give: its root has it, the others need an identity policy. */
function decideWithoutKeyPolicy(question: AccessQuestion): Decision {
  if (isAccountRoot(question)) return { allowed: true, because: 'account root' };
  return refuse(question, 'not in identity policies', undefined);
}

function findDenying({ denies }: ApplicableStatements, { principal }: AccessQuestion): StatementReference | undefined {
  return (denies.anyone[0] ?? denies.named.get(principal)?.[0] ?? denies.account[0])?.reference;
}

function findAllowing({ allows }: ApplicableStatements, question: AccessQuestion): StatementReference | undefined {
  const byName = allows.anyone[0] ?? allows.named.get(question.principal)?.[0];
  return (byName ?? (isAccountRoot(question) ? allows.account[0] : undefined))?.reference;
}

/** Root in any account but the key's own is no principal of this daemon; `accountId` is the realm's. */
function isAccountRoot({ principal, accountId }: AccessQuestion): boolean {
  return principal === `arn:aws:iam::${accountId}:root`;
}

type RefusalReason = 'denied' | 'not in key policy' | 'not in identity policies';

/** Clients match these texts. */
const aws: Record<RefusalReason, (action: string) => string> = {
  denied: () => 'with an explicit deny in a resource-based policy',
  'not in key policy': (action) => `because no resource-based policy allows the ${action} action`,
  'not in identity policies': (action) => `because no identity-based policy allows the ${action} action`,
};

const explain: Record<RefusalReason, (statement: StatementReference | undefined) => string> = {
  denied: (statement) => `key policy ${describe(statement)} denies`,
  'not in key policy': () => 'no statement of the key policy allows',
  'not in identity policies': (statement) =>
    statement === undefined
      ? 'no identity policy allows'
      : `key policy ${describe(statement)} delegates to the account and no identity policy allows`,
};

function refuse(
  { principal, action, resource }: AccessQuestion,
  reason: RefusalReason,
  statement: StatementReference | undefined,
): Decision {
  return {
    allowed: false,
    because: explain[reason](statement),
    ...(statement === undefined ? {} : { statement }),
    message: `User: ${principal} is not authorized to perform: ${action} on resource: ${resource} ${aws[reason](action)}`,
  };
}

/** `statement "Sid"`, or by its number where it has none. */
function describe(statement: StatementReference | undefined): string {
  return statement?.sid === undefined ? `statement ${statement?.index}` : `statement ${JSON.stringify(statement.sid)}`;
}
