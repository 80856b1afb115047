/**
 * An independent, slow reading of AWS's documentation of policy evaluation, to compare decisions with.
 *
 * It shares no code with `src/authorization`: JSON by `JSON.parse`, patterns by the definition of `*` and `?`, statements
 * one by one in the order of the document. It covers the part of the language that is evaluated.
 *
 * Source: IAM user guide, "Determining whether a request is allowed or denied within an account".
 */

interface Statement {
  readonly Effect: string;
  readonly Principal: unknown;
  readonly Action: unknown;
  readonly Resource: unknown;
}

export interface NaiveRequest {
  readonly principal: string;
  readonly account: string;
  readonly action: string;
  readonly resource: string;
}

export type NaiveDecision = 'allow' | 'explicit deny' | 'implicit deny';

export function evaluateNaively(document: string, request: NaiveRequest): NaiveDecision {
  const { Statement } = JSON.parse(document) as { Statement: Statement | readonly Statement[] };
  const relevant = list(Statement).filter((statement) => speaksOf(statement, request));
  if (relevant.some(({ Effect, Principal }) => Effect === 'Deny' && names(Principal, request, true)))
    return 'explicit deny';
  if (relevant.some(({ Effect, Principal }) => Effect === 'Allow' && names(Principal, request, false))) return 'allow';
  return 'implicit deny';
}

function speaksOf({ Action, Resource }: Statement, { action, resource }: NaiveRequest): boolean {
  return (
    list(Action).some((pattern) => naiveMatches(String(pattern).toLowerCase(), action.toLowerCase())) &&
    list(Resource).some((pattern) => naiveMatches(String(pattern), resource))
  );
}

/** @param accountIsEverybodyInIt A deny for an account is for all its principals; an allow only lets it delegate. */
function names(element: unknown, { principal, account }: NaiveRequest, accountIsEverybodyInIt: boolean): boolean {
  if (element === '*') return true;
  const root = `arn:aws:iam::${account}:root`;
  return list((element as { AWS?: unknown }).AWS ?? []).some((name) => {
    if (name === '*' || name === principal) return true;
    return (name === account || name === root) && (accountIsEverybodyInIt || principal === root);
  });
}

/** `*` is any sequence of characters, `?` any one character; tries everything. */
export function naiveMatches(pattern: string, text: string): boolean {
  return naiveMatchesAt([...pattern], [...text]);
}

function naiveMatchesAt([first, ...pattern]: readonly string[], text: readonly string[]): boolean {
  if (first === undefined) return text.length === 0;
  if (first === '*') {
    return naiveMatchesAt(pattern, text) || (text.length > 0 && naiveMatchesAt([first, ...pattern], text.slice(1)));
  }
  const [character, ...rest] = text;
  return character !== undefined && (first === '?' || first === character) && naiveMatchesAt(pattern, rest);
}

function list<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? value : [value as T];
}
