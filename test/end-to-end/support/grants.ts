/** Grants as the tests make them, and the refusals that are about grants. */

import type { CreateGrantRequest, KMS } from '@aws-sdk/client-kms';
import { unixUserArn } from './arns.ts';
import { present } from './daemon.ts';
import { type Refusal, refused } from './refusals.ts';

export type GrantTerms = Partial<CreateGrantRequest> & Pick<CreateGrantRequest, 'Operations'>;

/** A grant on a key; to the Unix user `nobody` unless the terms say otherwise. */
export async function newGrant(
  kms: KMS,
  keyId: string,
  terms: GrantTerms,
): Promise<{ readonly id: string; readonly token: string }> {
  const made = await kms.createGrant({ KeyId: keyId, GranteePrincipal: unixUserArn('nobody'), ...terms });
  return { id: present(made.GrantId), token: present(made.GrantToken) };
}

export const invalidToken = refused('InvalidGrantTokenException', 'The grant token is not valid.');
export const invalidGrantId = refused('InvalidGrantIdException', 'The grant ID is not valid.');
export const grantNotFound = (grantId: string): Refusal =>
  refused('NotFoundException', `Grant ${grantId} is not found.`);
