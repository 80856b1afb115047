/**
 * `CreateGrant`: a permission on one KMS key, in force as soon as it is answered.
 *
 * With a name, a repeated request gives the grant that it made before, and another token. Without one, each request makes
 * another grant.
 */

import type { GrantRecord } from '../../store/records/records.ts';
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
  decide({ request, keys, caller, directory, nowMs }) {
    const { record } = keys.key.key;
    const parameters = requestedGrant(request, keys.key.key, caller.accountId, directory);
    const answer = ({ grantId }: GrantRecord) => ({ GrantToken: directory.grants.newToken(grantId), GrantId: grantId });
    const same = directory.grants.ofKey(record.keyId)?.findSame(parameters);
    if (same !== undefined) return { changes: [], response: answer(same) };
    const made = directory.grants.newGrant(parameters, nowMs);
    return { changes: [made.change], response: answer(made.record) };
  },
});
