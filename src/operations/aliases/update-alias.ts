/** `UpdateAlias`: lets an alias stand for another KMS key of the same kind. */

import { KmsError } from '../../kms/errors.ts';
import type { KeySpec } from '../../kms/key-specs.ts';
import { replaced } from '../../store/records/changes.ts';
import { aliasName, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { aliasResource, assertRoomForAlias, existingAlias, keyOfExistingAlias, targetKeyOf } from './alias-request.ts';

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
  decide({ request, keys, directory, nowMs }) {
    const alias = existingAlias(request, directory);
    const current = keys.current.key.record;
    const target = keys.target.key.record;
    if (current.keyUsage !== target.keyUsage || kindOf(current.keySpec) !== kindOf(target.keySpec)) {
      throw new KmsError(
        'ValidationException',
        `Alias ${alias.aliasName} cannot be changed from a key with KeyUsage ${current.keyUsage} and KeySpec ${current.keySpec} to one with KeyUsage ${target.keyUsage} and KeySpec ${target.keySpec}`,
      );
    }
    if (target.keyId !== current.keyId) assertRoomForAlias(directory, target.keyId);
    return { changes: [replaced('alias', alias, { keyId: target.keyId, updatedAtMs: nowMs })], response: {} };
  },
});

/** What an alias cannot be moved across. Source: AWS KMS API reference, UpdateAlias. */
function kindOf(keySpec: KeySpec): 'symmetric' | 'HMAC' | 'asymmetric' {
  if (keySpec === 'SYMMETRIC_DEFAULT') return 'symmetric';
  return keySpec.startsWith('HMAC_') ? 'HMAC' : 'asymmetric';
}
