/**
 * The policy lockout safety check of CreateKey and PutKeyPolicy: whoever puts a policy can put another one after it.
 *
 * A key that nobody may manage would need AWS's support there and the operator's database here. A caller who knows
 * better sets `BypassPolicyLockoutSafetyCheck`, and this is not called; nor is it for the default key policy, which a
 * CreateKey request without one gets. Conditions are judged by the request that puts the policy: a later one that comes
 * from elsewhere or at another hour may be refused.
 *
 * Source: AWS KMS API reference, PutKeyPolicy, "Policy" and "BypassPolicyLockoutSafetyCheck".
 */

import { KmsError } from '../kms/errors.ts';
import type { Decision } from './decision.ts';

/**
 * @param next The decision on `kms:PutKeyPolicy` for the same caller and key under the policy to come.
 * @throws KmsError MalformedPolicyDocumentException.
 */
export function assertNoLockout(next: Decision): void {
  if (next.allowed) return;
  throw new KmsError(
    'MalformedPolicyDocumentException',
    'The new key policy will not allow you to update the key policy in the future.',
    new Error(next.because),
  );
}
