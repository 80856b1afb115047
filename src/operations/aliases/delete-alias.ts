/** `DeleteAlias`: removes a name; the KMS key stays as it is. */

import { removed } from '../../store/records/changes.ts';
import { aliasName } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { aliasResource, existingAlias, keyOfExistingAlias } from './alias-request.ts';

export const deleteAlias = operation({
  name: 'DeleteAlias',
  request: object({ AliasName: aliasName }),
  response: object({}),
  needs: {
    resources: [{ action: 'kms:DeleteAlias', resource: aliasResource }],
    keys: { current: { action: 'kms:DeleteAlias', key: keyOfExistingAlias, states: 'control' } },
  },
  effect: 'changes',
  record: ['AliasName'],
  decide: ({ request, directory }) => ({
    changes: [removed('alias', existingAlias(request, directory))],
    response: {},
  }),
});
