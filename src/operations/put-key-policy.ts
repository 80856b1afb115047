/** `PutKeyPolicy`: another key policy, unless it would lock its author out. */

import { decide } from '../authorization/decide.ts';
import { assertNoLockout } from '../authorization/lockout.ts';
import { parsePolicyDocument } from '../authorization/policy-document.ts';
import { KmsError } from '../kms/errors.ts';
import {
  assertDefaultPolicyName,
  assertPolicyLength,
  keyNamedBy,
  keyReference,
  policyDocument,
  policyName,
} from './members.ts';
import { operation } from './operation.ts';
import { boolean, object, optional } from './schema.ts';

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
        anyState: true,
      },
    },
  },
  effect: 'changes',
  record: ['KeyId', 'PolicyName', 'BypassPolicyLockoutSafetyCheck'],
  async handle({ request, keys, caller, directory }) {
    assertDefaultPolicyName(request.PolicyName);
    assertPolicyLength(request.Policy);
    const policy = parsePolicyDocument(request.Policy, directory.realm);
    if (request.BypassPolicyLockoutSafetyCheck !== true) {
      assertNoLockout({ policy, caller, resource: keys.key.key.arn });
    }
    await directory.exclusively(async () => {
      // Permission was given by the policy of then. If it was replaced while this change waited for its turn, the one that is
      // in force decides again: its author may have lost the permission, and must not take it back.
      const keyPolicy = directory.findKey(keys.key.key.record.keyId)?.policy;
      if (keyPolicy !== keys.key.key.policy) {
        const { arn: principal, accountId } = caller;
        const decision = decide({
          principal,
          accountId,
          action: keys.key.action,
          resource: keys.key.key.arn,
          keyPolicy,
        });
        if (!decision.allowed) throw new KmsError('AccessDeniedException', decision.message);
      }
      await directory.putPolicy(keys.key.key, request.Policy, policy);
    });
    return {};
  },
});
