/**
 * `sts:AssumeRole`: what is asked for, and whether the caller may have it.
 *
 * The decision is the same as on a key, with the trust policy of the role in the key policy's place. As in AWS within one account, a
 * trust policy that names the caller is enough; one that names the account leaves it to the caller's identity policies. A source
 * identity takes `sts:SetSourceIdentity` as well, each time that it is passed on. The account's root assumes no role. Session tags, managed
 * policies and second factors do not exist here, and are refused by name.
 *
 * INVARIANT: a role that does not exist and one that the caller may not assume are refused alike.
 *
 * Source: AWS STS API reference, "AssumeRole"; IAM user guide, "Roles terms and concepts" (role chaining), "Monitor and control
 * actions taken with assumed roles".
 */

import type { AssumableRole, AssumableRoles } from '../authorization/assumable-roles.ts';
import { decide } from '../authorization/decide.ts';
import type { IdentityPolicies } from '../authorization/identity-policies.ts';
import { compileSessionPolicy } from '../authorization/language/policy-document.ts';
import { assertAffordable } from '../authorization/worst-case.ts';
import type { Caller, PeerFacts, UnixPeer } from '../identity/caller.ts';
import type { KeyView } from '../keys/key-view.ts';
import { KmsError } from '../kms/errors.ts';
import { RequestQuestion } from './access-question.ts';
import type { AssumeRoleRequest } from './assume-role-request.ts';
import { conditionVocabulary } from './condition-key-table.ts';
import type { Need, QuestionSource } from './question-source.ts';
import type { ActTrace, RequestOrigin } from './service.ts';
import type { SessionPolicies } from './session-policies.ts';

export interface AssumeRoleParts {
  readonly directory: KeyView;
  /** Those that the configuration has now. */
  readonly roles: () => AssumableRoles;
  readonly identityPolicies: () => IdentityPolicies;
  readonly sessionPolicies: SessionPolicies;
  readonly peerFacts: (peer: UnixPeer) => PeerFacts;
}

export interface PermittedSession {
  readonly role: AssumableRole;
  readonly sessionName: string;
  readonly lifetimeSeconds: number;
  readonly policy?: string | undefined;
  readonly sourceIdentity?: string | undefined;
}

/** AWS's default, and its bound where a session of a role assumes another. */
const defaultSeconds = 3600;
const maxSecondsInChain = 3600;

/** @throws KmsError `AccessDeniedException`, `ValidationException`, `MalformedPolicyDocumentException`. */
export function permitAssumption(
  request: AssumeRoleRequest,
  caller: Caller,
  origin: RequestOrigin,
  parts: AssumeRoleParts,
  trace: ActTrace,
): PermittedSession {
  const before = caller.proof.kind === 'sigv4' ? caller.proof.session?.sourceIdentity : undefined;
  const sourceIdentity = before ?? request.sourceIdentity;
  if (caller.type === 'Root') throw new KmsError('AccessDeniedException', 'Roles may not be assumed by root accounts.');
  const role = permittedRole(request, sourceIdentity, caller, origin, parts, trace);
  if (before !== undefined && request.sourceIdentity !== undefined && request.sourceIdentity !== before) {
    throw new KmsError('ValidationException', 'SourceIdentity cannot be changed once it is set in a chain of roles.');
  }
  const { roleSessionName: sessionName, policy } = request;
  const lifetimeSeconds = lifetimeOf(request, role, caller);
  if (policy !== undefined) {
    assertAffordable(compileSessionPolicy(policy, parts.directory.realm, conditionVocabulary));
  }
  return { role, sessionName, lifetimeSeconds, policy, sourceIdentity };
}

function permittedRole(
  request: AssumeRoleRequest,
  sourceIdentity: string | undefined,
  caller: Caller,
  origin: RequestOrigin,
  parts: AssumeRoleParts,
  trace: ActTrace,
): AssumableRole {
  const { roleArn } = request;
  trace.resources.push(roleArn);
  const role = parts.roles().find(roleArn);
  if (role === undefined) {
    trace.decision = { allowed: false, because: 'there is no such role' };
    throw refused('sts:AssumeRole', caller, roleArn);
  }
  const source: QuestionSource = {
    operation: { name: 'AssumeRole', needs: {} },
    request: {
      ExternalId: request.externalId,
      RoleSessionName: request.roleSessionName,
      SourceIdentity: sourceIdentity,
    },
    origin,
    caller,
    directory: parts.directory,
    identityPolicies: parts.identityPolicies().attachedTo(caller),
    sessionPolicy: parts.sessionPolicies.of(caller),
    peerFacts: parts.peerFacts,
  };
  const actions: readonly StsAction[] =
    sourceIdentity === undefined ? ['sts:AssumeRole'] : ['sts:AssumeRole', 'sts:SetSourceIdentity'];
  const reasons: string[] = [];
  for (const action of actions) {
    const need: Need = { action, conditions: assumeRoleConditions };
    const decision = decide(new RequestQuestion(source, need, roleArn, undefined, role.trustPolicy));
    reasons.push(decision.because);
    trace.decision = { allowed: decision.allowed, because: [...new Set(reasons)].join('; ') };
    if (!decision.allowed) throw refused(action, caller, roleArn);
  }
  return role;
}

type StsAction = 'sts:AssumeRole' | 'sts:SetSourceIdentity';
/** The condition keys that policies may use for it beside those that every request has. */
export const assumeRoleConditions = ['sts:ExternalId', 'sts:RoleSessionName', 'sts:SourceIdentity'] as const;

/** AWS's text, which does not tell why. */
function refused(action: StsAction, { arn }: Caller, roleArn: string): KmsError {
  return new KmsError(
    'AccessDeniedException',
    `User: ${arn} is not authorized to perform: ${action} on resource: ${roleArn}`,
  );
}

function lifetimeOf({ durationSeconds }: AssumeRoleRequest, role: AssumableRole, { type }: Caller): number {
  const asked = durationSeconds ?? Math.min(defaultSeconds, role.maxSessionSeconds);
  if (asked > role.maxSessionSeconds) {
    throw new KmsError(
      'ValidationException',
      'The requested DurationSeconds exceeds the MaxSessionDuration set for this role.',
    );
  }
  if (type === 'AssumedRole' && asked > maxSecondsInChain) {
    throw new KmsError(
      'ValidationException',
      'The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.',
    );
  }
  return asked;
}
