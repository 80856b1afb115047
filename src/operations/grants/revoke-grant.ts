/** `RevokeGrant`: ends a grant, by permission of the key's policy. What it allowed is refused as soon as this is answered. */

import { removed } from '../../store/records/changes.ts';
import { dryRun, keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { grantId } from './grant-members.ts';
import { grantOfKey } from './grant-request.ts';

export const revokeGrant = operation({
  name: 'RevokeGrant',
  request: object({ KeyId: keyReference, GrantId: grantId, DryRun: dryRun }),
  response: object({}),
  needs: {
    keys: {
      key: {
        action: 'kms:RevokeGrant',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['kms:GrantIsForAWSResource'],
        states: 'control',
      },
    },
  },
  effect: 'changes',
  revokes: true,
  record: ['KeyId', 'GrantId', 'DryRun'],
  decide: ({ request, keys, directory }) => ({
    changes: [removed('grant', grantOfKey(directory, keys.key.key.record, request.GrantId))],
    response: {},
  }),
});
