/** What is wrong with conditions that are valid: the part of the linter that is about `Condition`. */

import { parsePrincipalArn, type Realm } from '../../kms/names.ts';
import type { StatementQuestion, StatementTest } from '../language/compiled-statement.ts';
import {
  type ConditionKey,
  type ConditionType,
  type ConditionValues,
  noContext,
} from '../language/condition-vocabulary.ts';
import type { Finding, KnownAction, LintedStatement, LintOptions } from './linted-statement.ts';

export function lintConditions(statement: LintedStatement, options: LintOptions): readonly Finding[] {
  const { place, compiled } = statement;
  return compiled.tests.flatMap((test) => {
    if (test.element !== 'Condition') return [];
    const where = `${place}.Condition.${test.operator}[${JSON.stringify(test.keyName)}]`;
    const found = (severity: Finding['severity'], problems: readonly (string | undefined)[]): readonly Finding[] =>
      problems.flatMap((problem) => (problem === undefined ? [] : [{ severity, place: where, problem }]));
    return [
      ...found('error', [aboutMissingSet(test, statement)]),
      ...found('warning', [
        aboutPresence(test, statement, options),
        aboutType(test),
        aboutWildcards(test),
        aboutForAll(test, statement),
        aboutHint(test),
        aboutTime(test, statement, options.nowMs),
      ]),
    ];
  });
}

/** A test that no request meets, whoever sends it. */
export function neverHolds(test: StatementTest, statement: LintedStatement, options: LintOptions): boolean {
  const { actions } = statement;
  if (test.element !== 'Condition') return false;
  const { key } = test;
  const isAbsent = key === undefined || !actions.some(({ hasKey }) => hasKey(key));
  if (isAbsent) return !holdsFor(test, noContext);
  const constant = constantValues(key, options.realm);
  if (constant !== undefined) return !holdsFor(test, { ...noContext, valuesOf: () => constant });
  return aboutTime(test, statement, options.nowMs) !== undefined;
}

/** Of condition keys that have the same value in every request of this account and Region. */
function constantValues({ name }: ConditionKey, { account, region }: Realm): readonly string[] | undefined {
  switch (name) {
    case 'kms:CallerAccount':
    case 'aws:PrincipalAccount':
    case 'aws:ResourceAccount':
      return [account];
    case 'aws:RequestedRegion':
      return [region];
    case 'aws:PrincipalIsAWSService':
      return ['false'];
    default:
      return undefined;
  }
}

function holdsFor({ holds }: StatementTest, context: ConditionValues): boolean {
  const principal = parsePrincipalArn('arn:aws:iam::000000000000:root');
  if (principal === undefined) throw new TypeError('the root has an ARN');
  const question: StatementQuestion = { principal, accountId: '000000000000', resource: '*', context };
  return holds(question);
}

function aboutPresence(
  test: StatementTest,
  { actions }: LintedStatement,
  { actions: known }: LintOptions,
): string | undefined {
  const { key } = test;
  const isAlwaysHeld = holdsFor(test, noContext);
  const outcome = isAlwaysHeld ? 'always holds' : 'never holds, and neither does the statement';
  if (key === undefined || !known.some(({ hasKey }) => hasKey(key)))
    return `no request here has this key, so that the condition ${outcome}`;
  if (actions.length === 0) return undefined;
  const without = actions.filter(({ hasKey }) => !hasKey(key));
  if (without.length === actions.length) {
    return `no request for ${listed(actions)} has this key, so that the condition ${outcome}`;
  }
  if (without.length === 0 || !isAlwaysHeld || test.operator === 'Null') return undefined;
  return `requests for ${listed(without)} do not have this key, so that the condition holds for them`;
}

const listedActions = 3;

function listed(actions: readonly KnownAction[]): string {
  const names = actions.slice(0, listedActions).map(({ action }) => action);
  const more = actions.length - names.length;
  return more > 0 ? `${names.join(', ')} and ${more} more` : names.join(', ');
}

/** The types that the operators of a family can compare; texts compare with everything. */
const comparable: readonly (readonly [RegExp, readonly ConditionType[]])[] = [
  [/Numeric/, ['Numeric']],
  [/Date/, ['Date', 'Numeric']],
  [/Bool/, ['Bool']],
  [/IpAddress/, ['IPAddress']],
  [/Arn/, ['ARN', 'String']],
];

function aboutType({ operator = '', key }: StatementTest): string | undefined {
  const types = comparable.find(([family]) => family.test(operator))?.[1];
  if (key === undefined || types === undefined || types.includes(key.type)) return undefined;
  return `the values of this key are of type ${key.type}, which ${operator} cannot compare`;
}

function aboutWildcards({ operator = '', expected }: StatementTest): string | undefined {
  if (!/String(?:Not)?Equals/.test(operator)) return undefined;
  const value = expected.find((text) => /[*?]/.test(text.replaceAll(/\$\{[^}]*\}/g, '')));
  if (value === undefined) return undefined;
  return `"${value}" is compared as it is: for wildcards write ${operator.replace(/Equals(?:IgnoreCase)?/, 'Like')}`;
}

/** AWS requires a set operator and does not say what follows without; its own checks find an error there too. */
function aboutMissingSet({ operator = '', key }: StatementTest, { compiled }: LintedStatement): string | undefined {
  if (key?.isMultivalued !== true || /^(?:ForA|Null)/.test(operator)) return undefined;
  const here = compiled.effect === 'Allow' ? 'all of them have' : 'one of them has';
  return `dangerous: the key can have several values, and AWS does not say which of them have to match (here ${here} to): write ForAllValues:${operator} or ForAnyValue:${operator}`;
}

function aboutForAll(test: StatementTest, { compiled }: LintedStatement): string | undefined {
  const { operator = '', key } = test;
  if (key === undefined) return undefined;
  const isForAll = operator.startsWith('ForAllValues:');
  const requiresPresence = compiled.tests.some((other) => other.operator === 'Null' && isSame(other.key, key));
  if (!isForAll || compiled.effect !== 'Allow' || requiresPresence) return undefined;
  return `it holds where the request has no value at all: add "Null": {"${test.keyName}": "false"}`;
}

/** A condition that its own caller can meet decides nothing about him. */
function aboutHint({ key }: StatementTest): string | undefined {
  if (key?.name !== 'aws:SourceIp') return undefined;
  return 'a hint and no proof: on the loopback listener the caller chooses his address, and on a Unix socket he has none';
}

function isSame(one: ConditionKey | undefined, other: ConditionKey): boolean {
  return one?.name === other.name && one.parameter === other.parameter;
}

/** An Allow whose time is over. */
function aboutTime(
  { operator = '', key, expected }: StatementTest,
  { compiled }: LintedStatement,
  nowMs: number,
): string | undefined {
  if (compiled.effect !== 'Allow' || key?.name !== 'aws:CurrentTime' || !operator.startsWith('DateLess'))
    return undefined;
  const last = Math.max(...expected.map((text) => (/^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text))));
  return last < nowMs ? 'its time is over: it allows nothing any more' : undefined;
}
