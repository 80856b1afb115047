/**
 * The policy lockout safety check of CreateKey and PutKeyPolicy: whoever puts a policy can put another one after it.
 *
 * A key that nobody may manage would need AWS's support there and the operator's database here. A caller who knows
 * better sets `BypassPolicyLockoutSafetyCheck`, and this is not called.
 *
 * Source: AWS KMS API reference, PutKeyPolicy, "Policy" and "BypassPolicyLockoutSafetyCheck".
 */

import { KmsError } from '../kms/errors.ts';
import type { PrincipalArn } from '../kms/names.ts';
import { decide } from './decide.ts';
import type { CompiledPolicy } from './policy-document.ts';

/** @throws KmsError MalformedPolicyDocumentException. */
export function assertNoLockout(question: {
  /** The policy to come. */
  readonly policy: CompiledPolicy;
  readonly caller: { readonly arn: PrincipalArn; readonly accountId: string };
  /** The key's ARN. */
  readonly resource: string;
}): void {
  const { policy, caller, resource } = question;
  const decision = decide({
    principal: caller.arn,
    accountId: caller.accountId,
    action: 'kms:PutKeyPolicy',
    resource,
    keyPolicy: policy,
  });
  if (decision.allowed) return;
  throw new KmsError(
    'MalformedPolicyDocumentException',
    'The new key policy will not allow you to update the key policy in the future.',
    new Error(decision.because),
  );
}
