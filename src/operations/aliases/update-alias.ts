/** `UpdateAlias`: lets an alias stand for another KMS key of the same kind. */

import { KmsError } from '../../kms/errors.ts';
import type { KeySpec } from '../../kms/key-specs.ts';
import { aliasName, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { aliasResource, existingAlias, keyOfExistingAlias, targetKeyOf } from './alias-request.ts';

export const updateAlias = operation({
  name: 'UpdateAlias',
  request: object({ AliasName: aliasName, TargetKeyId: keyReference }),
  response: object({}),
  needs: {
    resources: [{ action: 'kms:UpdateAlias', resource: aliasResource }],
    keys: {
      current: { action: 'kms:UpdateAlias', key: keyOfExistingAlias, states: 'control' },
      target: { action: 'kms:UpdateAlias', key: targetKeyOf, states: 'administration' },
    },
  },
  effect: 'changes',
  record: ['AliasName', 'TargetKeyId'],
  handle({ request, keys, directory, assertStillAllowed }) {
    return directory.exclusively(async () => {
      assertStillAllowed();
      const alias = existingAlias(request, directory);
      const current = keys.current.key.record;
      const target = keys.target.key.record;
      // Permission was given for the key that the alias stood for then; if another caller moved it since, that one decides.
      if (alias.keyId !== current.keyId) {
        throw new KmsError(
          'KMSInvalidStateException',
          `Alias ${alias.aliasName} was changed by another request. Try again.`,
        );
      }
      if (current.keyUsage !== target.keyUsage || kindOf(current.keySpec) !== kindOf(target.keySpec)) {
        throw new KmsError(
          'ValidationException',
          `Alias ${alias.aliasName} cannot be changed from a key with KeyUsage ${current.keyUsage} and KeySpec ${current.keySpec} to one with KeyUsage ${target.keyUsage} and KeySpec ${target.keySpec}`,
        );
      }
      await directory.putAlias({ ...alias, keyId: target.keyId, updatedAtMs: Date.now() });
      return {};
    });
  },
});

/** What an alias cannot be moved across. Source: AWS KMS API reference, UpdateAlias. */
function kindOf(keySpec: KeySpec): 'symmetric' | 'HMAC' | 'asymmetric' {
  if (keySpec === 'SYMMETRIC_DEFAULT') return 'symmetric';
  return keySpec.startsWith('HMAC_') ? 'HMAC' : 'asymmetric';
}
