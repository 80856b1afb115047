/**
 * `RetireGrant`: ends a grant, by permission of the grant itself.
 *
 * Its retiring principal may, its grantee where it allows RetireGrant, and the account that it was made in: the root, or
 * whom an identity policy gives `kms:RetireGrant`. The key's policy is not asked: `kms:RetireGrant` is not effective in
 * one (AWS KMS developer guide, "Retiring and revoking grants").
 */

import { findReferencedKey } from '../../keys/key-reference.ts';
import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { KmsError } from '../../kms/errors.ts';
import { keyArn } from '../../kms/names.ts';
import { removed } from '../../store/records/changes.ts';
import type { GrantRecord } from '../../store/records/records.ts';
import { dryRun, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { type Infer, object, optional } from '../declaration/schema.ts';
import { grantId, grantToken } from './grant-members.ts';
import { grantOfKey, grantOfToken } from './grant-request.ts';

const request = object({
  GrantToken: optional(grantToken),
  KeyId: optional(keyReference),
  GrantId: optional(grantId),
  DryRun: dryRun,
});
type Request = Infer<typeof request>;

export const retireGrant = operation({
  name: 'RetireGrant',
  request,
  response: object({}),
  needs: {
    keys: {
      key: {
        action: 'kms:RetireGrant',
        key: keyOfNamedGrant,
        grant: 'RetireGrant',
        retires: namedGrant,
        states: 'control',
      },
    },
  },
  effect: 'changes',
  revokes: true,
  record: ['KeyId', 'GrantId', 'DryRun'],
  decide({ request, directory, note }) {
    const grant = namedGrant(request, directory);
    note({ GrantId: grant.grantId });
    return { changes: [removed('grant', grant)], response: {} };
  },
});

/** By its token alone, or by key and id. */
function namedGrant({ GrantToken, KeyId, GrantId }: Request, directory: KeyView): GrantRecord {
  if (GrantToken !== undefined && KeyId === undefined && GrantId === undefined) {
    return grantOfToken(directory, GrantToken);
  }
  if (GrantToken !== undefined || KeyId === undefined || GrantId === undefined) {
    throw new KmsError(
      'ValidationException',
      'You must specify either GrantToken, or both KeyId and GrantId, to identify the grant.',
    );
  }
  return grantOfKey(directory, findReferencedKey(directory, KeyId, 'keyOnly').record, GrantId);
}

function keyOfNamedGrant(named: Request, directory: KeyView): KmsKey {
  const { keyId } = namedGrant(named, directory);
  const key = directory.findKey(keyId);
  if (key === undefined) {
    throw new KmsError('NotFoundException', `Key '${keyArn(directory.realm, keyId)}' does not exist`);
  }
  return key;
}
