/** `GetKeyPolicy`: the key policy as it was put, in AWS's layout. */

import { layOutPolicy } from '../../authorization/language/policy-layout.ts';
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
    return { Policy: layOutPolicy(keys.key.key.policyRecord.document), PolicyName: 'default' };
  },
});
