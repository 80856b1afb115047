/**
 * Why a question is decided as it is, and what would change that: for the account's root, never for the caller.
 *
 * INVARIANT: nothing here decides. Every statement is judged by its own compiled tests, and every "what if" is asked of
 * `decide` again with something taken away, so that an explanation cannot say anything but what holds.
 *
 * What is proposed to someone who was refused is the least that helps: one action, on one key, to one principal. Where
 * something denies, nothing that is added helps, so only then is told what to add once nothing denies any more.
 */

import { rootArn } from '../../kms/names.ts';
import { decide } from '../decide.ts';
import type { AccessQuestion, Decision } from '../decision.ts';
import { type CompiledPolicy, policyOf } from '../language/compiled-policy.ts';
import type { CompiledStatement, StatementReference, StatementTest } from '../language/compiled-statement.ts';

/** Something that a statement asks of the request, with what the request has. */
export interface TestReport {
  readonly element: StatementTest['element'];
  readonly operator?: string;
  readonly key?: string;
  readonly expected: readonly string[];
  /** Of a condition: the values in this request; `null` where it has none. */
  readonly actual?: readonly string[] | null;
  readonly holds: boolean;
}

/** A statement that is about this action, resource and principal. */
interface StatementReport {
  readonly statement: StatementReference;
  /** `Delegate`: it allows the account, which lets identity policies allow. */
  readonly effect: 'Allow' | 'Deny' | 'Delegate';
  /** Do all its tests hold? */
  readonly applies: boolean;
  readonly tests: readonly TestReport[];
}

/** What would let the principal in. Documents are ready to be used. */
export type Remedy =
  | { readonly kind: 'end the denial'; readonly statement: StatementReference }
  | {
      readonly kind: 'meet the conditions';
      readonly statement: StatementReference;
      readonly tests: readonly TestReport[];
    }
  | { readonly kind: 'add to the key policy'; readonly keyPolicyStatement: object }
  | { readonly kind: 'create a grant'; readonly operation: string }
  | { readonly kind: 'attach an identity policy'; readonly identityPolicy: object }
  /** The session policy came with AssumeRole, and nobody can change it: it takes another session. */
  | { readonly kind: 'assume the role with another session policy'; readonly sessionPolicyStatement: object }
  | {
      readonly kind: 'delegate to the account and attach an identity policy';
      readonly keyPolicyStatement: object;
      readonly identityPolicy: object;
    };

export interface Explanation {
  readonly action: string;
  readonly resource: string;
  readonly decision: Decision;
  readonly statements: readonly StatementReport[];
  /** Of what is allowed: everything that allows it, in the order in which it would decide, each without those before. */
  readonly allowedBy: readonly string[];
  /** Of what is refused: what would change it. */
  readonly remedies: readonly Remedy[];
}

/** @param grantOperation Its name in grants, where a grant can allow it. */
export function explain(question: AccessQuestion, grantOperation: string | undefined): Explanation {
  const decision = decide(question);
  const { action, resource } = question;
  const statements = reportStatements(question);
  return {
    action,
    resource,
    decision,
    statements,
    allowedBy: decision.allowed ? listAllowing(question) : [],
    remedies: decision.allowed ? [] : findRemedies(question, statements, grantOperation),
  };
}

/** The statements about this action and resource that concern the principal: those that apply, and those that nearly do. */
function reportStatements(question: AccessQuestion): readonly StatementReport[] {
  return policiesOf(question).flatMap(({ policy, isKeyPolicy }) =>
    policy.statements
      .filter((statement) => isAbout(statement, question))
      .flatMap((statement) => {
        const effect = isKeyPolicy ? effectOn(statement, question) : statement.effect;
        if (effect === undefined) return [];
        const tests = statement.tests.map((test) => reportTest(test, question));
        const applies = tests.every(({ holds }) => holds);
        return [{ statement: statement.reference, effect, applies, tests }];
      }),
  );
}

function policiesOf({ keyPolicy, identityPolicies, sessionPolicy }: AccessQuestion): readonly {
  readonly policy: CompiledPolicy;
  readonly isKeyPolicy: boolean;
}[] {
  return [
    ...(keyPolicy === undefined ? [] : [{ policy: keyPolicy, isKeyPolicy: true }]),
    ...identityPolicies.map((policy) => ({ policy, isKeyPolicy: false })),
    ...(sessionPolicy === undefined ? [] : [{ policy: sessionPolicy, isKeyPolicy: false }]),
  ];
}

function isAbout({ matchesAction, matchesResource }: CompiledStatement, { action, resource }: AccessQuestion): boolean {
  return matchesAction(action.toLowerCase()) && matchesResource(resource);
}

/** What a statement of the key policy is to this principal; `undefined`: nothing. */
function effectOn(
  { effect, principals }: CompiledStatement,
  { principal, role, accountId }: AccessQuestion,
): StatementReport['effect'] | undefined {
  const { anyone, account, named } = principals;
  if (anyone || named.has(principal) || (role !== undefined && named.has(role))) return effect;
  if (!account) return undefined;
  return effect === 'Deny' || principal === rootArn({ account: accountId }) ? effect : 'Delegate';
}

function reportTest(test: StatementTest, question: AccessQuestion): TestReport {
  const { element, operator, keyName, key, expected } = test;
  return {
    element,
    ...(operator === undefined ? {} : { operator }),
    ...(keyName === undefined ? {} : { key: keyName }),
    expected,
    ...(element === 'Condition' ? { actual: (key && question.context.valuesOf(key)) ?? null } : {}),
    holds: test.holds(question),
  };
}

/** What decides is taken away, and the question asked again, until it is refused or nothing can be taken away. */
function listAllowing(question: AccessQuestion): readonly string[] {
  const because: string[] = [];
  let asked = question;
  for (let decision = decide(asked); decision.allowed; decision = decide(asked)) {
    because.push(decision.because);
    if (decision.grant !== undefined) asked = { ...plain(asked), findGrant: () => undefined };
    else if (decision.statement !== undefined) asked = without(asked, new Set([decision.statement]));
    else break;
  }
  return because;
}

/** The question as a value whose members can be replaced. */
function plain(question: AccessQuestion): AccessQuestion {
  const { principal, role, accountId, action, resource, keyPolicy, identityPolicies, sessionPolicy, context } =
    question;
  const findGrant = (): ReturnType<NonNullable<AccessQuestion['findGrant']>> => question.findGrant?.();
  const policies = { keyPolicy, identityPolicies, sessionPolicy };
  return { principal, role, accountId, action, resource, ...policies, context, findGrant };
}

function without(question: AccessQuestion, removed: ReadonlySet<StatementReference>): AccessQuestion {
  const reduce = (policy: CompiledPolicy): CompiledPolicy => {
    const statements = policy.statements.filter(({ reference }) => !removed.has(reference));
    if (statements.length === policy.statements.length) return policy;
    return policyOf(statements);
  };
  const { keyPolicy, identityPolicies, sessionPolicy } = question;
  return {
    ...plain(question),
    keyPolicy: keyPolicy === undefined ? undefined : reduce(keyPolicy),
    identityPolicies: identityPolicies.map(reduce),
    sessionPolicy: sessionPolicy && reduce(sessionPolicy),
  };
}

function findRemedies(
  question: AccessQuestion,
  statements: readonly StatementReport[],
  grantOperation: string | undefined,
): readonly Remedy[] {
  const denying = statements.filter(({ effect, applies }) => effect === 'Deny' && applies);
  const undenied = without(question, new Set(denying.map(({ statement }) => statement)));
  const next = decide(undenied);
  const ends = denying.map(({ statement }): Remedy => ({ kind: 'end the denial', statement }));
  if (next.allowed) return ends;
  const unmet = statements
    .filter(({ effect, applies }) => effect === 'Allow' && !applies)
    .map(({ statement, tests }): Remedy => {
      return { kind: 'meet the conditions', statement, tests: tests.filter(({ holds }) => !holds) };
    });
  // A grant to the role is bounded by the session's policy too.
  const isBounded = next.by === 'not in session policy';
  const canBeGranted = question.keyPolicy !== undefined && grantOperation !== undefined && !isBounded;
  const byGrant: readonly Remedy[] = canBeGranted ? [{ kind: 'create a grant', operation: grantOperation }] : [];
  return [...ends, ...unmet, ...byDocument(question, next), ...byGrant];
}

/** Where a key policy decides, its own statement is the nearest; where it delegates already, an identity policy is enough. */
function byDocument(question: AccessQuestion, decision: Decision): readonly Remedy[] {
  const { principal, role, accountId, action, resource, keyPolicy } = question;
  if (decision.by === 'not in session policy') {
    const sessionPolicyStatement = { Effect: 'Allow', Action: action, Resource: resource };
    return [{ kind: 'assume the role with another session policy', sessionPolicyStatement }];
  }
  const who = role ?? principal;
  const root = rootArn({ account: accountId });
  // Nothing can be attached to the root, who needs nothing where no key policy decides.
  const identityPolicy = who === root || who.includes(':sts:') ? undefined : attached(who, action, resource);
  if (keyPolicy === undefined) {
    return identityPolicy === undefined ? [] : [{ kind: 'attach an identity policy', identityPolicy }];
  }
  const allow = (AWS: string): object => ({ Effect: 'Allow', Principal: { AWS }, Action: action, Resource: '*' });
  const ownStatement: Remedy = { kind: 'add to the key policy', keyPolicyStatement: allow(who) };
  if (identityPolicy === undefined) return [ownStatement];
  return decision.by === 'not in identity policies'
    ? [{ kind: 'attach an identity policy', identityPolicy }, ownStatement]
    : [
        ownStatement,
        {
          kind: 'delegate to the account and attach an identity policy',
          keyPolicyStatement: allow(root),
          identityPolicy,
        },
      ];
}

/** A whole file of the folder of identity policies. */
function attached(principal: string, action: string, resource: string): object {
  const Statement = [{ Effect: 'Allow', Action: action, Resource: resource }];
  return { AttachedTo: [principal], PolicyDocument: { Version: '2012-10-17', Statement } };
}
