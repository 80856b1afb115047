/**
 * `CreateGrant`: a permission on one KMS key, in force as soon as it is answered.
 *
 * With a name, a repeated request gives the grant that it made before, and another token. Without one, each request makes
 * another grant.
 */

import { dryRun, grantTokens, keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object, optional } from '../declaration/schema.ts';
import {
  grantConstraints,
  grantId,
  grantName,
  grantOperationList,
  grantPrincipal,
  grantServicePrincipal,
  grantToken,
} from './grant-members.ts';
import { requestedGrant, termsOf } from './grant-request.ts';

export const createGrant = operation({
  name: 'CreateGrant',
  request: object({
    KeyId: keyReference,
    GranteePrincipal: optional(grantPrincipal),
    RetiringPrincipal: optional(grantPrincipal),
    Operations: grantOperationList,
    Constraints: optional(grantConstraints),
    GrantTokens: grantTokens,
    Name: optional(grantName),
    DryRun: dryRun,
    GranteeServicePrincipal: optional(grantServicePrincipal),
    RetiringServicePrincipal: optional(grantServicePrincipal),
  }),
  response: object({ GrantToken: optional(grantToken), GrantId: optional(grantId) }),
  needs: {
    keys: {
      key: {
        action: 'kms:CreateGrant',
        key: keyNamedBy('KeyId', 'keyOnly'),
        states: 'granting',
        grant: 'CreateGrant',
        newGrant: termsOf,
        conditions: [
          'kms:EncryptionContext',
          'kms:EncryptionContextKeys',
          'kms:GrantConstraintSourceArn',
          'kms:GrantConstraintType',
          'kms:GranteePrincipal',
          'kms:GranteeServicePrincipal',
          'kms:GrantIsForAWSResource',
          'kms:GrantOperations',
          'kms:RetiringPrincipal',
          'kms:RetiringServicePrincipal',
        ],
      },
    },
  },
  effect: 'changes',
  record: [
    'KeyId',
    'GranteePrincipal',
    'GranteeServicePrincipal',
    'RetiringPrincipal',
    'RetiringServicePrincipal',
    'Operations',
    'Constraints',
    'Name',
    'DryRun',
  ],
  recordResponse: ['GrantId'],
  async rehearse({ request, keys, caller }) {
    requestedGrant(request, keys.key.key.record, caller.accountId);
  },
  async handle({ request, keys, caller, directory, assertStillAllowed }) {
    const { record } = keys.key.key;
    const parameters = requestedGrant(request, record, caller.accountId);
    return directory.exclusively(async () => {
      assertStillAllowed();
      const same = directory.grants.ofKey(record.keyId)?.findSame(parameters);
      const grant = same ?? (await directory.grants.put(parameters));
      return { GrantToken: directory.grants.newToken(grant.grantId), GrantId: grant.grantId };
    });
  },
});
