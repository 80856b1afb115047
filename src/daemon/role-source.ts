/** AssumeRole of one Region: what the pipeline permits, issued. */

import type { RoleSource } from '../http/assume-role.ts';
import { type RoleSessions, sessionCaller } from '../identity/role-sessions.ts';
import { userIdOf } from '../kms/names.ts';
import { maxSessionPolicyCharacters } from '../pipeline/assume-role-request.ts';
import { type AssumeRoleParts, permitAssumption } from '../pipeline/role-assumption.ts';

export function roleSource(parts: AssumeRoleParts, sessions: RoleSessions): RoleSource {
  return {
    async assumeRole(request, caller, origin, trace) {
      const permitted = permitAssumption(request, caller, origin, parts, trace);
      const { role, sessionName, policy, sourceIdentity } = permitted;
      const issued = await sessions.issue(caller, permitted);
      const assumed = sessionCaller(parts.directory.realm, role.arn, sessionName);
      return {
        ...issued,
        arn: assumed.arn,
        assumedRoleId: userIdOf(assumed),
        sourceIdentity,
        packedPolicySizePercent:
          policy === undefined ? undefined : Math.ceil((policy.length * 100) / maxSessionPolicyCharacters),
      };
    },
  };
}
