/**
 * `DeleteImportedKeyMaterial`: destroys imported material. The KMS key stays, and works again when the same is imported again.
 *
 * It is answered when the material is gone from the HSM. Material to which the key was not rotated yet is forgotten with it, and
 * the key goes on; any other is missing from then on, and the key is `PendingImport`, unless it is pending deletion.
 * What a primary key was not rotated to goes from its replicas with it; what else is deleted in one Region stays in the others.
 * Where there is none, nothing happens but that an earlier deletion which did not end is ended.
 */

import { isPendingRotation } from '../../keys/imported-material.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { multiRegionKeyType } from '../../keys/multi-region.ts';
import { KmsError } from '../../kms/errors.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import { keyMaterialId, keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object, optional, string } from '../declaration/schema.ts';
import { hasSeveralMaterials } from './import-request.ts';

export const deleteImportedKeyMaterial = operation({
  name: 'DeleteImportedKeyMaterial',
  request: object({ KeyId: keyReference, KeyMaterialId: optional(keyMaterialId) }),
  response: object({ KeyId: optional(string()), KeyMaterialId: optional(string()) }),
  needs: {
    keys: {
      key: {
        action: 'kms:DeleteImportedKeyMaterial',
        key: keyNamedBy('KeyId', 'keyOnly'),
        states: 'importRemoval',
      },
    },
  },
  effect: 'changes',
  revokes: true,
  record: ['KeyId', 'KeyMaterialId'],
  recordResponse: ['KeyId', 'KeyMaterialId'],
  prepare: ({ keys, life }) => life.imports.removal(keys.key.key.record.keyId),
  decide({ request, keys, prepared }) {
    const { key } = keys.key;
    const material = namedMaterial(key, request.KeyMaterialId);
    return {
      changes: material !== undefined && isTaken(key, material) ? prepared.of(key, material) : [],
      response: { KeyId: key.arn, KeyMaterialId: hasSeveralMaterials(key) ? material?.importedMaterialId : undefined },
    };
  },
  conclude: ({ prepared }) => prepared.finish(),
});

/** What is there; and of a primary key also what its replicas wait for in vain, if the key was not rotated to it. */
function isTaken(key: KmsKey, material: BackingKeyRecord): boolean {
  if (material.state === 'Active') return true;
  const isAwaited = material.state === 'Removed' && isPendingRotation(key, material);
  return isAwaited && multiRegionKeyType(key.record) === 'PRIMARY';
}

/** The material that is meant: the current one, where the request names none. */
function namedMaterial(key: KmsKey, id: string | undefined): BackingKeyRecord | undefined {
  if (id === undefined) return key.currentMaterial;
  const named = key.materials.find(({ importedMaterialId }) => importedMaterialId === id);
  if (named === undefined) throw new KmsError('NotFoundException', `Key material '${id}' does not exist in ${key.arn}`);
  return named;
}
