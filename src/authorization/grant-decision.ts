/**
 * What a grant allows: the step of the decision between the key policy and the account's identity policies.
 *
 * A grant allows its grantee its operations on its key, where its constraints are satisfied, and nothing else. A grantee
 * is the caller himself, the role whose session he is, or the account; a grant to the account is for its root and, as a
 * key policy that names the account is, a delegation to the account's identity policies. INVARIANT: a grant made with the
 * permission that another grant gives allows nothing that the other one does not (`isWithin`); who made it otherwise, by
 * a policy, is free.
 *
 * A constraint on the encryption context binds the operations that take one; the names of its pairs are compared without regard
 * to case (`kms/context-pairs.ts`). On CreateGrant it binds what is made; it does not bind DescribeKey and RetireGrant. SourceArn names the resource for which an AWS service calls. No AWS service
 * calls this daemon, so a grant with SourceArn allows nothing here but to be retired.
 *
 * Source: AWS KMS API reference, CreateGrant and GrantConstraints; developer guide, "Creating grants", "Retiring and
 * revoking grants".
 */

import { areSamePairs, type FoldedPairs, foldPairs, hasPairs, stepsToFoldPairs } from '../kms/context-pairs.ts';
import {
  type EncryptionContextPairs,
  type GrantConstraints,
  type GrantId,
  type GrantOperation,
  type GrantTerms,
  takesEncryptionContext,
} from '../kms/grant-terms.ts';
import { type PrincipalArn, rootArn } from '../kms/names.ts';
import type { GrantReference } from './decision.ts';
import { stepsPerGrant, unbounded, type WorkBudget } from './language/work-budget.ts';

/** Who asks. */
export interface Grantee {
  readonly principal: PrincipalArn;
  readonly role?: PrincipalArn | undefined;
  readonly accountId: string;
}

/** A grant, as far as the decision looks at it. */
export interface CandidateGrant extends GrantTerms {
  readonly grantId: GrantId;
}

/** The grants of one key. Who keeps them also knows how to find few among many. */
export interface GrantsOfKey {
  /** Those that may allow the grantee this operation, none of them left out; each is still judged by its terms. */
  candidates(grantee: string, operation: GrantOperation, context: FoldedPairs): Iterable<CandidateGrant>;
}

/** A grant with those who may retire it. */
export interface RetirableGrant extends CandidateGrant {
  readonly grantee: string;
  /** `null`: it names nobody. */
  readonly retiring: string | null;
}

/** What the grantee wants to do. */
export interface GrantUse {
  readonly operation: GrantOperation;
  readonly encryptionContext?: EncryptionContextPairs | undefined;
  /** For CreateGrant: what the new grant would allow. */
  readonly newGrant?: GrantTerms | undefined;
}

/** A grant of the key that allows it; one to the account is given only when there is no other. */
export function findAllowingGrant(
  grants: GrantsOfKey | undefined,
  grantee: Grantee,
  use: GrantUse,
  budget: WorkBudget = unbounded,
): GrantReference | undefined {
  if (grants === undefined) return undefined;
  const { principal, role, accountId } = grantee;
  const account = rootArn({ account: accountId });
  const bound = boundContextOf(use);
  budget.spend(stepsToFoldPairs(bound));
  const context = foldPairs(bound);
  const findGrantTo = (who: string): GrantReference | undefined => {
    for (const grant of grants.candidates(who, use.operation, context)) {
      budget.spend(Math.max(stepsPerGrant, stepsToJudge(grant)));
      if (isAllowedBy(grant, use, context)) return { grantId: grant.grantId };
    }
    return undefined;
  };
  const own = findGrantTo(principal);
  if (own !== undefined) return role === undefined ? own : { ...own, isToSession: true };
  return (
    (role === undefined ? undefined : findGrantTo(role)) ??
    (principal === account ? undefined : delegating(findGrantTo(account)))
  );
}

const noPairs: EncryptionContextPairs = {};

/** The encryption context that constraints are about: of a new grant, the one that it is bound to. */
function boundContextOf({ operation, encryptionContext, newGrant }: GrantUse): EncryptionContextPairs {
  return (operation === 'CreateGrant' ? newGrant && pairsOf(newGrant) : encryptionContext) ?? noPairs;
}

/** Those of the one constraint on the encryption context that there can be. */
function pairsOf({ constraints }: GrantTerms): EncryptionContextPairs | undefined {
  return constraints.EncryptionContextEquals ?? constraints.EncryptionContextSubset;
}

/** Of a grant whose names of pairs are long, more than of any other. */
function stepsToJudge(grant: GrantTerms): number {
  return stepsToFoldPairs(pairsOf(grant) ?? noPairs);
}

function delegating(grant: GrantReference | undefined): GrantReference | undefined {
  return grant === undefined ? undefined : { ...grant, isDelegating: true };
}

/**
 * Does a grant with these terms allow its grantee to do this?
 * @param context The one that its constraints are about; whoever judges several grants folds it once.
 */
export function isAllowedBy(
  { operations, constraints }: GrantTerms,
  use: GrantUse,
  context: FoldedPairs = foldPairs(boundContextOf(use)),
): boolean {
  const { operation, newGrant } = use;
  if (!operations.includes(operation) || constraints.SourceArn !== undefined) return false;
  if (operation === 'CreateGrant') {
    return newGrant !== undefined && isWithin(newGrant, { operations, constraints }, context);
  }
  return !takesEncryptionContext(operation) || isSatisfied(constraints, context);
}

function isSatisfied(constraints: GrantConstraints, context: FoldedPairs): boolean {
  const { EncryptionContextEquals: exact, EncryptionContextSubset: some } = constraints;
  if (exact !== undefined && !areSamePairs(context, foldPairs(exact))) return false;
  return some === undefined || hasPairs(context, foldPairs(some));
}

/**
 * Does a grant with the first terms allow at most what one with the second allows?
 * @param pairs Those of the first.
 */
export function isWithin(
  inner: GrantTerms,
  outer: GrantTerms,
  pairs: FoldedPairs = foldPairs(pairsOf(inner) ?? noPairs),
): boolean {
  return (
    inner.operations.every((operation) => outer.operations.includes(operation)) &&
    isAsStrict(inner.constraints, pairs, outer.constraints)
  );
}

function isAsStrict(inner: GrantConstraints, pairs: FoldedPairs, outer: GrantConstraints): boolean {
  if (outer.SourceArn !== undefined && inner.SourceArn !== outer.SourceArn) return false;
  const { EncryptionContextEquals: exact, EncryptionContextSubset: some } = outer;
  if (exact !== undefined) {
    return inner.EncryptionContextEquals !== undefined && areSamePairs(pairs, foldPairs(exact));
  }
  if (some === undefined) return true;
  return (
    (inner.EncryptionContextEquals ?? inner.EncryptionContextSubset) !== undefined && hasPairs(pairs, foldPairs(some))
  );
}

/**
 * May the caller retire this very grant by what it says? As its retiring principal, or as its grantee where it allows
 * RetireGrant. The account that it was made in may too; that is a permission like those that no key policy governs.
 */
export function findRetirement(grant: RetirableGrant, grantee: Grantee): GrantReference | undefined {
  const { grantId, retiring } = grant;
  const mayRetire = (principal: string): boolean =>
    principal === retiring || (principal === grant.grantee && grant.operations.includes('RetireGrant'));
  const { principal, role } = grantee;
  if (mayRetire(principal)) return role === undefined ? { grantId } : { grantId, isToSession: true };
  return role !== undefined && mayRetire(role) ? { grantId } : undefined;
}
