/**
 * An independent, slow reading of AWS's documentation of policy evaluation, to compare decisions with.
 *
 * It shares no code with `src/authorization`: JSON by `JSON.parse`, patterns by the definition of `*` and `?`, statements
 * one by one in the order of the document, conditions by the tables of the user guide. A context is an object from
 * condition keys to lists of values. Only valid documents are given to it.
 *
 * Where the documentation leaves open what follows, it has the choice that this daemon documents: an ARN without a star at
 * a segment's end does not reach over colons; a negated operator whose policy variable has no value holds in a Deny only; without a set
 * operator, an Allow wants all values of a key and a Deny one.
 *
 * Source: IAM user guide, "Determining whether a request is allowed or denied within an account", "IAM JSON policy
 * elements" (Principal, NotPrincipal, NotAction, NotResource, Condition), "Condition operators", "Multivalued context
 * keys", "Variables and tags".
 */

import { conditionHolds, type NaiveContext, naiveArnMatches, naiveMatches, resolveText } from './naive-conditions.ts';

export { naiveMatches } from './naive-conditions.ts';

interface Statement {
  readonly Effect: 'Allow' | 'Deny';
  readonly Principal?: unknown;
  readonly NotPrincipal?: unknown;
  readonly Action?: unknown;
  readonly NotAction?: unknown;
  readonly Resource?: unknown;
  readonly NotResource?: unknown;
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

interface Document {
  readonly Version?: string;
  readonly Statement: Statement | readonly Statement[];
}

export interface NaiveRequest {
  readonly principal: string;
  /** Of a session, its role. */
  readonly role?: string | undefined;
  readonly account: string;
  readonly action: string;
  readonly resource: string;
  readonly context?: NaiveContext;
}

export type NaiveDecision = 'allow' | 'explicit deny' | 'implicit deny';

/** What the documents say together: the key's policy, if there is one, and those attached to the caller. */
export function evaluateNaively(
  keyPolicy: string | undefined,
  request: NaiveRequest,
  identityPolicies: readonly string[] = [],
): NaiveDecision {
  const ofKey = keyPolicy === undefined ? [] : statementsOf(keyPolicy);
  const ofIdentity = identityPolicies.flatMap(statementsOf);
  const says = (effect: 'Allow' | 'Deny') => (item: VersionedStatement) =>
    item.statement.Effect === effect && isAbout(item, request);
  const denies = ofKey.filter(says('Deny')).some((item) => deniesPrincipal(item.statement, request));
  if (denies || ofIdentity.some(says('Deny'))) return 'explicit deny';

  const isRoot = request.principal === rootOf(request.account);
  const allowing = ofKey.filter(says('Allow'));
  if (allowing.some(({ statement }) => allowsByName(statement, request, isRoot))) return 'allow';
  const delegated =
    keyPolicy === undefined || allowing.some(({ statement }) => namesAccount(statement.Principal, request));
  if (keyPolicy === undefined && isRoot) return 'allow';
  return delegated && ofIdentity.some(says('Allow')) ? 'allow' : 'implicit deny';
}

interface VersionedStatement {
  readonly statement: Statement;
  readonly hasVariables: boolean;
}

function statementsOf(text: string): readonly VersionedStatement[] {
  const { Version, Statement } = JSON.parse(text) as Document;
  return list(Statement).map((statement) => ({ statement, hasVariables: Version === '2012-10-17' }));
}

function isAbout({ statement, hasVariables }: VersionedStatement, request: NaiveRequest): boolean {
  const { Effect, Action, NotAction, Resource, NotResource, Condition = {} } = statement;
  const context = request.context ?? {};
  const isAction = (patterns: unknown): boolean =>
    list(patterns).some((pattern) => naiveMatches(String(pattern).toLowerCase(), request.action.toLowerCase()));
  if (Action === undefined ? NotAction === undefined || isAction(NotAction) : !isAction(Action)) return false;

  const resources = list(Resource ?? NotResource ?? []).map((text) =>
    resolveText(String(text), context, hasVariables, true),
  );
  const named = resources.some((pattern) => pattern !== undefined && naiveArnMatches(pattern, request.resource));
  const unknown = resources.includes(undefined);
  if (Resource !== undefined && !named) return false;
  if (Resource === undefined && NotResource === undefined) return false;
  if (NotResource !== undefined && (named || (unknown && Effect === 'Allow'))) return false;
  return conditionHolds(Condition, context, hasVariables, Effect);
}

function deniesPrincipal({ Principal, NotPrincipal }: Statement, request: NaiveRequest): boolean {
  const { principal, role, account } = request;
  if (NotPrincipal !== undefined) {
    // Excepted is whoever is named in each way in which he is known.
    const names = namesIn(NotPrincipal);
    const known = [rootOf(account), principal, ...(role === undefined ? [] : [role])];
    return (
      !names.includes('*') &&
      !known.every((name) => names.includes(name) || (name === rootOf(account) && names.includes(account)))
    );
  }
  return namesCaller(Principal, request) || namesAccount(Principal, request);
}

function allowsByName({ Principal }: Statement, request: NaiveRequest, isRoot: boolean): boolean {
  return namesCaller(Principal, request) || (isRoot && namesAccount(Principal, request));
}

function namesCaller(element: unknown, { principal, role, account }: NaiveRequest): boolean {
  const names = namesIn(element).filter((name) => name !== rootOf(account));
  return names.includes('*') || names.includes(principal) || (role !== undefined && names.includes(role));
}

function namesAccount(element: unknown, { account }: NaiveRequest): boolean {
  const names = namesIn(element);
  return names.includes(account) || names.includes(rootOf(account));
}

function namesIn(element: unknown): readonly unknown[] {
  return element === '*' ? ['*'] : list((element as { AWS?: unknown }).AWS ?? []);
}

function rootOf(account: string): string {
  return `arn:aws:iam::${account}:root`;
}

function list<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? value : [value as T];
}
