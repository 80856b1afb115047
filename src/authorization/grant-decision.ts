/**
 * What a grant allows: the step of the decision between the key policy and the account's identity policies.
 *
 * A grant allows its grantee its operations on its key, where its constraints are satisfied, and nothing else. A grantee
 * is the caller himself, the role whose session he is, or the account; a grant to the account is for its root and, as a
 * key policy that names the account is, a delegation to the account's identity policies. INVARIANT: a grant made with the
 * permission that another grant gives allows nothing that the other one does not (`isWithin`); who made it otherwise, by
 * a policy, is free.
 *
 * A constraint on the encryption context binds the operations that take one. On CreateGrant it binds what is made; it
 * does not bind DescribeKey and RetireGrant. SourceArn names the resource for which an AWS service calls. No AWS service
 * calls this daemon, so a grant with SourceArn allows nothing here but to be retired.
 *
 * Source: AWS KMS API reference, CreateGrant and GrantConstraints; developer guide, "Creating grants", "Retiring and
 * revoking grants".
 */

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
  candidates(
    grantee: string,
    operation: GrantOperation,
    context: EncryptionContextPairs | undefined,
  ): Iterable<CandidateGrant>;
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
  return (
    findGrantTo(grants, principal, use, budget) ??
    (role === undefined ? undefined : findGrantTo(grants, role, use, budget)) ??
    (principal === account ? undefined : delegating(findGrantTo(grants, account, use, budget)))
  );
}

function findGrantTo(
  grants: GrantsOfKey,
  grantee: string,
  use: GrantUse,
  budget: WorkBudget,
): GrantReference | undefined {
  for (const grant of grants.candidates(grantee, use.operation, boundContextOf(use))) {
    budget.spend(stepsPerGrant);
    if (isAllowedBy(grant, use)) return { grantId: grant.grantId };
  }
  return undefined;
}

/** The encryption context that constraints are about: of a new grant, the one that it is bound to. */
function boundContextOf({ operation, encryptionContext, newGrant }: GrantUse): EncryptionContextPairs | undefined {
  if (operation !== 'CreateGrant') return encryptionContext;
  return newGrant?.constraints.EncryptionContextEquals ?? newGrant?.constraints.EncryptionContextSubset;
}

function delegating(grant: GrantReference | undefined): GrantReference | undefined {
  return grant === undefined ? undefined : { ...grant, isDelegating: true };
}

/** Does a grant with these terms allow its grantee to do this? */
export function isAllowedBy({ operations, constraints }: GrantTerms, use: GrantUse): boolean {
  const { operation, encryptionContext, newGrant } = use;
  if (!operations.includes(operation) || constraints.SourceArn !== undefined) return false;
  if (operation === 'CreateGrant') return newGrant !== undefined && isWithin(newGrant, { operations, constraints });
  return !takesEncryptionContext(operation) || isSatisfied(constraints, encryptionContext ?? {});
}

function isSatisfied(constraints: GrantConstraints, context: EncryptionContextPairs): boolean {
  const { EncryptionContextEquals: exact, EncryptionContextSubset: some } = constraints;
  if (exact !== undefined && !(hasPairs(context, exact) && hasPairs(exact, context))) return false;
  return some === undefined || hasPairs(context, some);
}

/** Does a grant with the first terms allow at most what one with the second allows? */
export function isWithin(inner: GrantTerms, outer: GrantTerms): boolean {
  return (
    inner.operations.every((operation) => outer.operations.includes(operation)) &&
    isAsStrict(inner.constraints, outer.constraints)
  );
}

function isAsStrict(inner: GrantConstraints, outer: GrantConstraints): boolean {
  if (outer.SourceArn !== undefined && inner.SourceArn !== outer.SourceArn) return false;
  const { EncryptionContextEquals: exact, EncryptionContextSubset: some } = outer;
  if (exact !== undefined) {
    const same = inner.EncryptionContextEquals;
    return same !== undefined && hasPairs(same, exact) && hasPairs(exact, same);
  }
  if (some === undefined) return true;
  const pairs = inner.EncryptionContextEquals ?? inner.EncryptionContextSubset;
  return pairs !== undefined && hasPairs(pairs, some);
}

function hasPairs(all: EncryptionContextPairs, wanted: EncryptionContextPairs): boolean {
  return Object.keys(wanted).every((name) => Object.hasOwn(all, name) && all[name] === wanted[name]);
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
  if (mayRetire(principal) || (role !== undefined && mayRetire(role))) return { grantId };
  return undefined;
}
