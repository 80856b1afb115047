/**
 * `ListKeyRotations`: when and how a KMS key got the material that it has, the oldest first.
 *
 * Without more, what became current by a rotation; with `ALL_KEY_MATERIAL` also the first material, and imported material to
 * which the key was not rotated yet. Nothing of it is left out when it is not there any more: imported material can be imported
 * again. Of a key in a custom key store, which AWS does not rotate, there is nothing more.
 */

import { isPendingRotation } from '../../keys/imported-material.ts';
import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { keyMaterialIdOf } from '../../keys/kms-key.ts';
import { assertRotatable, isRotatedInAws, rotationOf } from '../../keys/life/rotation.ts';
import { SortedNames } from '../../keys/lists/sorted-names.ts';
import { isThereInAll, multiRegionKeyType, soundRelatedKeys } from '../../keys/multi-region.ts';
import { KmsError } from '../../kms/errors.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import { keyNamedBy, keyReference, limit, marker } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { decodeMarker, longPages, pageEnd, pageSize } from '../declaration/pages.ts';
import { boolean, enumeration, type Infer, list, object, optional, string, timestamp } from '../declaration/schema.ts';

const keyMaterialState = enumeration([
  'NON_CURRENT',
  'CURRENT',
  'PENDING_ROTATION',
  'PENDING_MULTI_REGION_IMPORT_AND_ROTATION',
]);
type KeyMaterialState = Infer<typeof keyMaterialState>;

const rotationsListEntry = object({
  KeyId: optional(string()),
  KeyMaterialId: optional(string()),
  KeyMaterialDescription: optional(string()),
  ImportState: optional(enumeration(['IMPORTED', 'PENDING_IMPORT'])),
  KeyMaterialState: optional(keyMaterialState),
  ExpirationModel: optional(enumeration(['KEY_MATERIAL_EXPIRES', 'KEY_MATERIAL_DOES_NOT_EXPIRE'])),
  ValidTo: optional(timestamp),
  RotationDate: optional(timestamp),
  RotationType: optional(enumeration(['AUTOMATIC', 'ON_DEMAND'])),
});

export const listKeyRotations = operation({
  name: 'ListKeyRotations',
  request: object({
    KeyId: keyReference,
    IncludeKeyMaterial: optional(enumeration(['ALL_KEY_MATERIAL', 'ROTATIONS_ONLY'])),
    Limit: limit,
    Marker: marker,
  }),
  response: object({
    Rotations: optional(list(rotationsListEntry)),
    NextMarker: optional(string()),
    Truncated: optional(boolean),
  }),
  needs: { keys: { key: { action: 'kms:ListKeyRotations', key: keyNamedBy('KeyId', 'keyOnly'), states: 'reading' } } },
  effect: 'reads',
  record: ['KeyId', 'IncludeKeyMaterial', 'Limit', 'Marker'],
  async handle({ request, keys, directory }) {
    const { key } = keys.key;
    assertRotatable(key);
    if (request.IncludeKeyMaterial !== undefined) assertMaterialIsListed(key);
    const all = request.IncludeKeyMaterial === 'ALL_KEY_MATERIAL';
    const listName = `ListKeyRotations:${key.record.keyId}`;
    const materials = new Map(
      key.materials
        .filter((material) => all || rotationOf(key, material) !== undefined)
        .map((material) => [nameOf(material), material]),
    );
    const names = new SortedNames<string>();
    for (const name of materials.keys()) names.add(name);
    const page = names.page(decodeMarker(listName, request.Marker), pageSize(request.Limit, longPages));
    const listed = page.names.flatMap((name) => materials.get(name) ?? []);
    return {
      Rotations: listed.map((material) => entryOf(key, material, directory)),
      ...pageEnd(listName, page),
    };
  },
});

/**
 * Source: the SDK's comment at `IncludeKeyMaterial`, which "can only be used with KMS keys that support automatic or on-demand key rotation".
 * @throws KmsError `UnsupportedOperationException`.
 */
function assertMaterialIsListed({ arn, record }: KmsKey): void {
  if (isRotatedInAws(record)) return;
  throw new KmsError(
    'UnsupportedOperationException',
    `IncludeKeyMaterial is not supported: ${arn} origin is ${record.origin}.`,
  );
}

/** Whose order is that of the material. */
function nameOf({ ordinal }: BackingKeyRecord): string {
  return String(ordinal).padStart(10, '0');
}

function entryOf(key: KmsKey, material: BackingKeyRecord, directory: KeyView): Infer<typeof rotationsListEntry> {
  const rotation = rotationOf(key, material);
  return {
    KeyId: key.record.keyId,
    KeyMaterialId: keyMaterialIdOf(material),
    KeyMaterialState: stateOf(key, material, directory),
    RotationDate: rotation === undefined ? undefined : new Date(rotation.rotatedAtMs),
    RotationType: rotation?.rotationType,
    ...(key.record.origin === 'EXTERNAL' ? importOf(material, directory.isUsable(material)) : {}),
  };
}

function stateOf(key: KmsKey, material: BackingKeyRecord, directory: KeyView): KeyMaterialState {
  if (material.backingKeyId === key.record.currentBackingKeyId) return 'CURRENT';
  if (!isPendingRotation(key, material)) return 'NON_CURRENT';
  if (multiRegionKeyType(key.record) === undefined) return 'PENDING_ROTATION';
  const related = soundRelatedKeys(directory, key.record.keyId);
  return isThereInAll(directory, related, material) ? 'PENDING_ROTATION' : 'PENDING_MULTI_REGION_IMPORT_AND_ROTATION';
}

/** Of what is not there, nobody can say when it expires. */
function importOf(
  { materialDescription, validToMs }: BackingKeyRecord,
  isImported: boolean,
): Infer<typeof rotationsListEntry> {
  const KeyMaterialDescription = materialDescription === '' ? undefined : materialDescription;
  if (!isImported) return { KeyMaterialDescription, ImportState: 'PENDING_IMPORT' };
  return {
    KeyMaterialDescription,
    ImportState: 'IMPORTED',
    ExpirationModel: validToMs === null ? 'KEY_MATERIAL_DOES_NOT_EXPIRE' : 'KEY_MATERIAL_EXPIRES',
    ValidTo: validToMs === null ? undefined : new Date(validToMs),
  };
}
