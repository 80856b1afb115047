/** `CreateAlias`: a name for a KMS key. */

import { KmsError } from '../../kms/errors.ts';
import { aliasArn } from '../../kms/names.ts';
import { aliasName, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { aliasNameOf, aliasResource, targetKeyOf } from './alias-request.ts';

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
  handle({ request, keys, directory, assertStillAllowed }) {
    const name = aliasNameOf(request);
    return directory.exclusively(async () => {
      assertStillAllowed();
      if (directory.findAlias(name) !== undefined) {
        throw new KmsError(
          'AlreadyExistsException',
          `An alias with the name ${aliasArn(directory.realm, name)} already exists`,
        );
      }
      const now = Date.now();
      const { keyId } = keys.target.key.record;
      await directory.putAlias({ aliasName: name, keyId, createdAtMs: now, updatedAtMs: now });
      return {};
    });
  },
});
