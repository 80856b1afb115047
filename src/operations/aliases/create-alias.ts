/** `CreateAlias`: a name for a KMS key. */

import { KmsError } from '../../kms/errors.ts';
import { aliasArn } from '../../kms/names.ts';
import { added } from '../../store/records/changes.ts';
import { aliasName, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { aliasNameOf, aliasResource, assertRoomForAlias, targetKeyOf } from './alias-request.ts';

export const createAlias = operation({
  name: 'CreateAlias',
  request: object({ AliasName: aliasName, TargetKeyId: keyReference }),
  response: object({}),
  needs: {
    resources: [{ action: 'kms:CreateAlias', resource: aliasResource }],
    keys: {
      target: { action: 'kms:CreateAlias', key: targetKeyOf, states: 'administration' },
    },
  },
  effect: 'changes',
  record: ['AliasName', 'TargetKeyId'],
  decide({ request, keys, directory, nowMs }) {
    const { realm } = directory;
    const name = aliasNameOf(request);
    if (directory.aliases.find(name) !== undefined) {
      throw new KmsError('AlreadyExistsException', `An alias with the name ${aliasArn(realm, name)} already exists`);
    }
    const { keyId } = keys.target.key.record;
    assertRoomForAlias(directory, keyId);
    // The first version is the moment, so that an alias which was deleted and made anew is never taken for the former one.
    const times = { version: nowMs, createdAtMs: nowMs, updatedAtMs: nowMs };
    return { changes: [added('alias', { region: realm.region, aliasName: name, keyId, ...times })], response: {} };
  },
});
