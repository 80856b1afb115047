/** `PutKeyPolicy`: another key policy, unless it would lock its author out, or cost too much. */

import { assertNoLockout } from '../../authorization/lockout.ts';
import { assertAffordable } from '../../authorization/worst-case.ts';
import {
  assertDefaultPolicyName,
  assertPolicyLength,
  keyNamedBy,
  keyReference,
  policyDocument,
  policyName,
} from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { boolean, object, optional } from '../declaration/schema.ts';

export const putKeyPolicy = operation({
  name: 'PutKeyPolicy',
  request: object({
    KeyId: keyReference,
    PolicyName: optional(policyName),
    Policy: policyDocument,
    BypassPolicyLockoutSafetyCheck: optional(boolean),
  }),
  response: object({}),
  needs: {
    keys: {
      key: {
        action: 'kms:PutKeyPolicy',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['kms:BypassPolicyLockoutSafetyCheck'],
        states: 'control',
      },
    },
  },
  effect: 'changes',
  revokes: true,
  record: ['KeyId', 'PolicyName', 'Policy', 'BypassPolicyLockoutSafetyCheck'],
  decide({ request, keys, directory, decideUnder }) {
    assertDefaultPolicyName(request.PolicyName);
    assertPolicyLength(request.Policy, directory.budgets.quotas);
    const policy = directory.compilePolicy(request.Policy);
    assertAffordable(policy);
    if (request.BypassPolicyLockoutSafetyCheck !== true) {
      assertNoLockout(decideUnder(policy, keys.key.key));
    }
    return { changes: [keys.key.withPolicy(request.Policy)], response: {} };
  },
});
