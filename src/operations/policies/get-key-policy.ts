/** `GetKeyPolicy`: the key policy, to the letter as it was put. */

import { assertDefaultPolicyName, keyNamedBy, keyReference, policyName } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object, optional, string } from '../declaration/schema.ts';

export const getKeyPolicy = operation({
  name: 'GetKeyPolicy',
  request: object({ KeyId: keyReference, PolicyName: optional(policyName) }),
  response: object({ Policy: optional(string()), PolicyName: optional(string()) }),
  needs: { keys: { key: { action: 'kms:GetKeyPolicy', key: keyNamedBy('KeyId', 'keyOnly'), states: 'reading' } } },
  effect: 'reads',
  record: ['KeyId', 'PolicyName'],
  async handle({ request, keys }) {
    assertDefaultPolicyName(request.PolicyName);
    return { Policy: keys.key.key.policyRecord.document, PolicyName: 'default' };
  },
});
