/**
 * The decision: may this principal do this to this resource, and what says so.
 *
 * In this order, as in AWS:
 *
 *  1. A statement that denies, of the key policy or of an identity policy, wins over everything. One that denies the
 *     account denies every principal in it.
 *  2. A statement of the key policy allows the principal (by its ARN, its role's ARN, as one of everybody, or, to the
 *     account's root, the account).
 *  3. A grant allows, alone or, when it is to the account, together with an identity policy of the caller.
 *  4. Where a statement of the key policy allows the account, it delegates to the account's identity policies, and a
 *     statement of one of the caller's allows. What has no key policy is delegated from the start.
 *  5. Of a session with a policy of its own, that one has to allow too, unless 2 or 3 name the session itself. It denies as the
 *     others do.
 *
 * Pure and cheap: nothing is parsed or matched here that depends only on policy, action and resource.
 *
 * Source: IAM user guide, "Policy evaluation logic", "AWS JSON policy elements: Principal" (account principals, role
 * session principals), "Session policies" and, on what is given to a session by its own ARN, "Policy evaluation for requests
 * within a single account"; KMS developer guide, "Default key policy" and "Troubleshooting AWS KMS permissions".
 */

import { rootArn } from '../kms/names.ts';
import type { AccessQuestion, Decision, RefusalReason } from './decision.ts';
import type { ApplicableStatements, StatementsByPrincipal } from './language/applicable-statements.ts';
import type { StatementReference } from './language/compiled-statement.ts';
import { firstThatHolds } from './language/filed-statements.ts';

export function decide(question: AccessQuestion): Decision {
  const { keyPolicy, action, resource } = question;
  const statements = keyPolicy?.applicableTo(action, resource);
  const denying = statements === undefined ? undefined : findDenying(statements, question);
  if (denying !== undefined) return refuse(question, 'denied by key policy', denying);
  const denyingIdentity = findInIdentityPolicies('denies', question);
  if (denyingIdentity !== undefined) return refuse(question, 'denied by identity policy', denyingIdentity);
  const denyingSession = findInSessionPolicy('denies', question);
  if (denyingSession !== undefined) return refuse(question, 'denied by session policy', denyingSession);
  if (statements === undefined) return withinSession(question, decideWithoutKeyPolicy(question));

  const allowing = findAllowing(statements, question);
  if (allowing !== undefined) return byKeyPolicy(question, statements, allowing);
  const byGrant = decideByGrant(question);
  if (byGrant !== undefined) return withinSession(question, byGrant);

  const delegating = firstThatHolds(statements.allows.account, question);
  if (delegating === undefined) return refuse(question, 'not in key policy', undefined);
  const allowingIdentity = findInIdentityPolicies('allows', question);
  return allowingIdentity === undefined
    ? refuse(question, 'not in identity policies', delegating)
    : withinSession(question, allowByIdentityPolicy(allowingIdentity));
}

/** A statement that names the session itself is not bounded by the session's policy, as in AWS. */
function byKeyPolicy(
  question: AccessQuestion,
  { allows }: ApplicableStatements,
  allowing: StatementReference,
): Decision {
  const allow = (statement: StatementReference): Decision => {
    return { allowed: true, by: 'key policy', because: describeStatement(statement), statement };
  };
  if (question.sessionPolicy === undefined) return allow(allowing);
  const ofSession = firstThatHolds(allows.naming(question.principal), question);
  return ofSession === undefined ? withinSession(question, allow(allowing)) : allow(ofSession);
}

/** The same, where the policy of the session allows it too. */
function withinSession(question: AccessQuestion, decision: Decision): Decision {
  if (!decision.allowed || question.sessionPolicy === undefined || decision.grant?.isToSession === true)
    return decision;
  const allowing = findInSessionPolicy('allows', question);
  if (allowing === undefined) return refuse(question, 'not in session policy', undefined);
  return { ...decision, because: `${decision.because} and ${describeStatement(allowing)}` };
}

/** What no key policy governs is the account's to give: its root has it, the others need an identity policy. */
function decideWithoutKeyPolicy(question: AccessQuestion): Decision {
  if (isAccountRoot(question)) return { allowed: true, by: 'account root', because: 'account root' };
  const byGrant = decideByGrant(question);
  if (byGrant !== undefined) return byGrant;
  const allowing = findInIdentityPolicies('allows', question);
  return allowing === undefined
    ? refuse(question, 'not in identity policies', undefined)
    : allowByIdentityPolicy(allowing);
}

/** A grant to the account delegates to the account's identity policies, as a statement that allows it does. */
function decideByGrant(question: AccessQuestion): Decision | undefined {
  const grant = question.findGrant?.();
  if (grant === undefined) return undefined;
  const because = `grant ${grant.grantId}`;
  if (grant.isDelegating !== true) return { allowed: true, by: 'grant', because, grant };
  const statement = findInIdentityPolicies('allows', question);
  if (statement === undefined) return undefined;
  return { allowed: true, by: 'grant', because: `${because} and ${describeStatement(statement)}`, statement, grant };
}

function allowByIdentityPolicy(statement: StatementReference): Decision {
  return { allowed: true, by: 'identity policy', because: describeStatement(statement), statement };
}

function findDenying({ denies }: ApplicableStatements, question: AccessQuestion): StatementReference | undefined {
  return findByName(denies, question) ?? firstThatHolds(denies.account, question);
}

function findAllowing({ allows }: ApplicableStatements, question: AccessQuestion): StatementReference | undefined {
  const byName = findByName(allows, question);
  if (byName !== undefined || allows.account === undefined || !isAccountRoot(question)) return byName;
  return firstThatHolds(allows.account, question);
}

/** A session is itself and its role. */
function findByName(
  { anyone, naming }: StatementsByPrincipal,
  question: AccessQuestion,
): StatementReference | undefined {
  const { principal, role } = question;
  return (
    firstThatHolds(anyone, question) ??
    firstThatHolds(naming(principal), question) ??
    (role === undefined ? undefined : firstThatHolds(naming(role), question))
  );
}

function findInSessionPolicy(
  effect: keyof ApplicableStatements,
  question: AccessQuestion,
): StatementReference | undefined {
  const applicable = question.sessionPolicy?.applicableTo(question.action, question.resource);
  return applicable && firstThatHolds(applicable[effect].anyone, question);
}

/** Identity policies name no principal: whom they are attached to was settled before the question. */
function findInIdentityPolicies(
  effect: keyof ApplicableStatements,
  question: AccessQuestion,
): StatementReference | undefined {
  for (const policy of question.identityPolicies) {
    const applicable = policy.applicableTo(question.action, question.resource);
    const found = firstThatHolds(applicable[effect].anyone, question);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Root in any account but the key's own is no principal of this daemon; `accountId` is the realm's. */
function isAccountRoot({ principal, accountId }: AccessQuestion): boolean {
  return principal === rootArn({ account: accountId });
}

/** AWS's texts, which clients match. */
const whyRefused: Record<RefusalReason, (action: string) => string> = {
  'denied by key policy': () => 'with an explicit deny in a resource-based policy',
  'denied by identity policy': () => 'with an explicit deny in an identity-based policy',
  'denied by session policy': () => 'with an explicit deny in a session policy',
  'not in key policy': (action) => `because no resource-based policy allows the ${action} action`,
  'not in identity policies': (action) => `because no identity-based policy allows the ${action} action`,
  'not in session policy': (action) => `because no session policy allows the ${action} action`,
};

/**
 * A caller who has shown a ciphertext and named no key is not told which key it is of, nor whether the key policy denies or
 * says nothing.
 */
const whyRefusedByCiphertext: typeof whyRefused = {
  ...whyRefused,
  'denied by key policy': () => noAccessByCiphertext,
  'not in key policy': () => noAccessByCiphertext,
};
const noAccessByCiphertext =
  'because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access';

type Reason = (statement: StatementReference | undefined, question: AccessQuestion) => string;
const denies: Reason = (statement) => `${describeStatement(statement)} denies`;

const explain: Record<RefusalReason, Reason> = {
  'denied by key policy': denies,
  'denied by identity policy': denies,
  'denied by session policy': denies,
  'not in key policy': (_, { isAboutRole }) =>
    `no statement of the ${isAboutRole === true ? 'trust' : 'key'} policy allows`,
  'not in identity policies': (statement) =>
    statement === undefined
      ? 'no identity policy allows'
      : `${describeStatement(statement)} delegates to the account and no identity policy allows`,
  'not in session policy': () => 'no statement of the session policy allows',
};

function refuse(question: AccessQuestion, by: RefusalReason, statement: StatementReference | undefined): Decision {
  const { principal, action, resource, isFoundByCiphertext = false } = question;
  const where = isFoundByCiphertext
    ? `on the resource associated with this ciphertext ${whyRefusedByCiphertext[by](action)}`
    : `on resource: ${resource} ${whyRefused[by](action)}`;
  return {
    allowed: false,
    by,
    because: explain[by](statement, question),
    ...(statement === undefined ? {} : { statement }),
    message: `User: ${principal} is not authorized to perform: ${action} ${where}`,
  };
}

/** Statements of policies are asked again and again. */
const descriptions = new WeakMap<StatementReference, string>();

function describeStatement(statement: StatementReference | undefined): string {
  if (statement === undefined) return describe(undefined);
  const known = descriptions.get(statement);
  if (known !== undefined) return known;
  const description = describe(statement);
  descriptions.set(statement, description);
  return description;
}

/** `key policy statement "Sid"`, or by its number where it has none; so of other policies, an identity policy by its file. */
function describe(statement: StatementReference | undefined): string {
  const own = statement?.kind ?? 'key policy';
  const document = statement?.document === undefined ? own : `identity policy ${statement.document}`;
  const name = statement?.sid === undefined ? statement?.index : JSON.stringify(statement.sid);
  return `${document} statement ${name}`;
}
