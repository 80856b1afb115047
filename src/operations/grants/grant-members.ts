/**
 * Request and response members of the operations on grants, with AWS's limits.
 *
 * Source: the service model of AWS KMS (`GrantConstraints`, `GrantListEntry`, `PrincipalIdType`, `GrantNameType`, …).
 */

import { grantOperationNames, isServicePrincipal } from '../../kms/grant-terms.ts';
import { keyArn, type Realm, rootArn } from '../../kms/names.ts';
import type { GrantRecord } from '../../store/records/records.ts';
import { encryptionContext } from '../declaration/members.ts';
import { enumeration, type Infer, list, object, optional, string, timestamp } from '../declaration/schema.ts';

export const grantPrincipal = string({ min: 1, max: 256, pattern: /^[\w+=,.@:/-]+$/ });
export const grantServicePrincipal = string({ min: 1, max: 256, pattern: /^[\w.-]+$/ });
export const grantName = string({ min: 1, max: 256, pattern: /^[a-zA-Z0-9:/_-]+$/ });
export const grantId = string({ min: 1, max: 128 });
export const grantToken = string({ min: 1, max: 8192 });
export const grantOperationList = list(enumeration(grantOperationNames), { min: 1 });
export const grantConstraints = object({
  EncryptionContextSubset: encryptionContext,
  EncryptionContextEquals: encryptionContext,
  SourceArn: optional(string({ min: 20, max: 2048 })),
});

export const grantListEntry = object({
  KeyId: optional(string()),
  GrantId: optional(string()),
  Name: optional(string()),
  CreationDate: optional(timestamp),
  GranteePrincipal: optional(string()),
  RetiringPrincipal: optional(string()),
  IssuingAccount: optional(string()),
  Operations: optional(list(enumeration(grantOperationNames))),
  Constraints: optional(grantConstraints),
  GranteeServicePrincipal: optional(string()),
  RetiringServicePrincipal: optional(string()),
});

/** A grant as the lists show it. */
export function describeGrant(realm: Realm, grant: GrantRecord): Infer<typeof grantListEntry> {
  const { grantee, retiring, constraints } = grant;
  const isConstrained = Object.keys(constraints).length > 0;
  return {
    KeyId: keyArn(realm, grant.keyId),
    GrantId: grant.grantId,
    Name: grant.name,
    CreationDate: new Date(grant.createdAtMs),
    [isServicePrincipal(grantee) ? 'GranteeServicePrincipal' : 'GranteePrincipal']: grantee,
    ...(retiring !== null && {
      [isServicePrincipal(retiring) ? 'RetiringServicePrincipal' : 'RetiringPrincipal']: retiring,
    }),
    IssuingAccount: rootArn({ account: grant.issuingAccount }),
    Operations: grant.operations,
    ...(isConstrained && { Constraints: constraints }),
  };
}
