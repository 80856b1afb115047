/**
 * Identity policies: what IAM policies are to AWS. Documents that are attached to principals and groups and say what
 * those may do, where a key policy delegates to the account or where there is no key policy.
 */

import type { Caller } from '../identity/caller.ts';
import type { CompiledPolicy } from './compiled-policy.ts';

export interface IdentityPolicies {
  /** Those of the caller, of his role and of the groups that he is in. */
  attachedTo(caller: Caller): readonly CompiledPolicy[];
}

/** Of a daemon whose configuration names no folder of them. */
export const noIdentityPolicies: IdentityPolicies = { attachedTo: () => [] };
