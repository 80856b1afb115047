/**
 * What the account's root may ask about access: why, who, and what if. Answers are decisions on supposed requests.
 */

import { type Explanation, explain, type TestReport } from '../authorization/advice/explanation.ts';
import { decide } from '../authorization/decide.ts';
import type { Decision } from '../authorization/decision.ts';
import type { KeyView } from '../keys/key-view.ts';
import { KmsError } from '../kms/errors.ts';
import { rootArn } from '../kms/names.ts';
import type { QuestionKey } from '../pipeline/question-source.ts';
import {
  type Documents,
  keysOf,
  leftOut,
  questionsAbout,
  type SupposedNeed,
  type SupposedRequest,
} from './supposed-request.ts';

export interface AccessReport {
  readonly allowed: boolean;
  /**
   * One for each permission. A caller hears of the first that is refused; who wants to help him needs all of them.
   * `region`: it is one in another Region than was asked.
   */
  readonly explanations: readonly (Explanation & { readonly region?: string })[];
  /** Members that the question left out. */
  readonly leftOut: readonly string[];
}

/** @throws KmsError as the request itself would, where it fails before permissions are asked. */
export function reportAccess(supposed: SupposedRequest, documents: Documents): AccessReport {
  const explanations = questionsAbout(supposed, documents).map(({ need, question }) => {
    const { askedOf, directory } = question.source;
    const explanation = explain(question, need.grant);
    return askedOf === undefined ? explanation : { ...explanation, region: directory.realm.region };
  });
  const allowed = explanations.every(({ decision }) => decision.allowed);
  return { allowed, explanations, leftOut: leftOut(supposed.operationName, supposed.members) };
}

/** What the first refusal says, or the last permission. */
function answer(questions: readonly SupposedNeed[]): Decision | undefined {
  let decision: Decision | undefined;
  for (const { question } of questions) {
    decision = decide(question);
    if (!decision.allowed) break;
  }
  return decision;
}

/** Somebody for whom a document or a grant says something. */
export type Candidate =
  | { readonly kind: 'principal'; readonly principal: string }
  /** Whoever is in a Unix group and no more. */
  | { readonly kind: 'group'; readonly group: string }
  /** Whoever no document and no grant names. */
  | { readonly kind: 'anybody else' };

export interface CandidateReport {
  readonly candidate: Candidate;
  readonly decision: Decision;
  /**
   * Of who is refused: conditions that keep an allowing statement from applying. A request that meets them is allowed, or
   * refused by the conditions of another permission that it needs.
   */
  readonly unmet: readonly (readonly TestReport[])[];
}

/** A key can have 50,000 grants; the first so many grantees are listed. */
export const maxGrantees = 1000;

/** Whoever the documents and grants name that have a say in what the request asks. */
export function listCandidates(
  supposed: SupposedRequest,
  documents: Documents,
): { readonly candidates: readonly Candidate[]; readonly isComplete: boolean } {
  const { directory, identityPolicies } = documents;
  const { principals, groups } = identityPolicies.attachments;
  const keys = keysOf(questionsAbout(supposed, documents));
  const named = keys.flatMap(({ policy }) => policy?.statements ?? []).flatMap((one) => [...one.principals.named]);
  const grantees = granteesOf(directory, keys);
  const all = new Set([rootArn(directory.realm), ...named, ...principals, ...grantees]);
  return {
    candidates: [
      ...[...all].map((principal): Candidate => ({ kind: 'principal', principal })),
      ...groups.map((group): Candidate => ({ kind: 'group', group })),
      { kind: 'anybody else' },
    ],
    isComplete: grantees.length < maxGrantees,
  };
}

/** Principals of this account: a service or another account is no caller here. */
function granteesOf({ grants, realm }: KeyView, keys: readonly QuestionKey[]): readonly string[] {
  const grantees = new Set<string>();
  for (const { record } of keys) {
    for (const grantee of grants.ofKey(record.keyId)?.grantees() ?? []) {
      if (grantee.split(':')[4] === realm.account) grantees.add(grantee);
      if (grantees.size === maxGrantees) return [...grantees];
    }
  }
  return [...grantees];
}

/** `undefined` for a request that needs no permission. */
export function reportCandidate(
  candidate: Candidate,
  supposed: SupposedRequest,
  documents: Documents,
): CandidateReport | undefined {
  const questions = questionsAbout(supposed, documents);
  const refused = questions.filter(({ question }) => !decide(question).allowed);
  const [decisive = questions.at(-1)] = refused;
  if (decisive === undefined) return undefined;
  // An explanation takes many times what a decision takes, and there can be a thousand candidates.
  const unmet = refused.map(unmetConditions);
  const canBeMet = unmet.every((alternatives) => alternatives.length > 0);
  return { candidate, decision: decide(decisive.question), unmet: canBeMet ? (unmet[0] ?? []) : [] };
}

/** Of a permission that is refused, for each statement that would allow it; none where something denies. */
function unmetConditions({ need, question }: SupposedNeed): readonly (readonly TestReport[])[] {
  const { remedies } = explain(question, need.grant);
  if (remedies.some(({ kind }) => kind === 'end the denial')) return [];
  return remedies.flatMap((remedy) => (remedy.kind === 'meet the conditions' ? [remedy.tests] : []));
}

/** A request of the past, asked again. */
export interface RecordedRequest {
  readonly supposed: SupposedRequest;
  /** ARNs of what it was about. */
  readonly resources: readonly string[];
}

export type Comparison =
  | { readonly judged: true; readonly before: Decision; readonly after: Decision }
  /** What it was about is gone or is another one now, or the record does not tell enough. */
  | { readonly judged: false; readonly reason: string };

export function compare(request: RecordedRequest, before: Documents, after: Documents): Comparison {
  try {
    const questions = questionsAbout(request.supposed, before);
    const other = keysOf(questions).find(({ arn }) => !request.resources.includes(arn));
    if (other !== undefined) return { judged: false, reason: 'its alias stands for another key now' };
    const [decisionBefore, decisionAfter] = [answer(questions), answer(questionsAbout(request.supposed, after))];
    if (decisionBefore === undefined || decisionAfter === undefined) {
      return { judged: false, reason: 'it needs no permission' };
    }
    return { judged: true, before: decisionBefore, after: decisionAfter };
  } catch (error) {
    if (!(error instanceof KmsError)) throw error;
    return { judged: false, reason: error.name === 'NotFoundException' ? 'what it names is gone' : error.message };
  }
}
