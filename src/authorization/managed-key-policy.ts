/**
 * The policy of an AWS managed key: whoever calls as the service may use it and make grants on it, the account may look and take
 * grants back, and nobody may change anything. That it stands alone is what refuses every change in AWS too, so no operation has a
 * rule of its own for such keys.
 *
 * Source: KMS developer guide, "AWS managed keys" and "Viewing a key policy"; the layout is that of `default-key-policy.ts`.
 */

import { type Realm, rootArn, serviceEndpoint } from '../kms/names.ts';

/** @param service As in `alias/aws/SERVICE`. */
export function managedKeyPolicy(realm: Realm, service: string): string {
  return `{
  "Version" : "2012-10-17",
  "Id" : "auto-${service}-1",
  "Statement" : [ {
    "Sid" : "Allow use through ${service} by whoever calls as that service",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "*"
    },
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {
      "StringEquals" : {
        "kms:CallerAccount" : "${realm.account}",
        "kms:ViaService" : "${serviceEndpoint(realm, service)}"
      }
    }
  }, {
    "Sid" : "Allow the account to look at the key and to revoke its grants",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "${rootArn(realm)}"
    },
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant" ],
    "Resource" : "*"
  } ]
}`;
}
