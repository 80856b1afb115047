/**
 * The policy of a key that was created without one: everything to the account, which delegates to its identity policies.
 *
 * Source: KMS developer guide, "Default key policy"; the layout is the one in which GetKeyPolicy shows it, because people
 * compare documents as text.
 */

import { type Account, rootArn } from '../kms/names.ts';

export function defaultKeyPolicy(account: Account): string {
  return `{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "${rootArn(account)}"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`;
}
