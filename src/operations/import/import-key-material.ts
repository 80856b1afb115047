/**
 * `ImportKeyMaterial`: gives a KMS key material that was made elsewhere, or gives it back.
 *
 * A key takes the material that it had and no other; a symmetric one also takes more, one at a time, each for RotateKeyOnDemand.
 * Importing what is still there changes when it expires and what it is said to be, and nothing else. With all material there that
 * it cannot do without, a key that was `PendingImport` is `Enabled`, whether what it lacked was destroyed already or has only
 * expired; a disabled key stays disabled until EnableKey.
 *
 * Of a multi-Region key each Region's material is its own, and the same: new material is imported into the primary key, and from then on
 * each replica waits for it and takes no other.
 *
 * Whether material may be imported is asked twice, as permissions are: before the HSM makes anything, and in the turn.
 */

import { expiredImportToken } from '../../keys/import-tokens.ts';
import { expiringMaterials, lacksMaterial, pendingRotationOf } from '../../keys/imported-material.ts';
import { incorrectKeyMaterialMessage } from '../../keys/key-store-errors.ts';
import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { awaitedIn, multiRegionKeyType, replicasOf } from '../../keys/multi-region.ts';
import { KmsError } from '../../kms/errors.ts';
import type { BackingKeyId } from '../../kms/names.ts';
import { type Change, replaced } from '../../store/records/changes.ts';
import type { BackingKeyRecord, WrappingKeyRecord } from '../../store/records/records.ts';
import { expirationModel } from '../declaration/enumerations.ts';
import { keyMaterialId, keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { blob, enumeration, type Infer, object, optional, string, timestamp } from '../declaration/schema.ts';
import { hasSeveralMaterials } from './import-request.ts';

const maxLifeMs = 365 * 24 * 60 * 60 * 1000;

const request = object({
  KeyId: keyReference,
  ImportToken: blob({ min: 1, max: 6144 }),
  EncryptedKeyMaterial: blob({ min: 1, max: 6144 }),
  ValidTo: optional(timestamp),
  ExpirationModel: optional(expirationModel),
  ImportType: optional(enumeration(['NEW_KEY_MATERIAL', 'EXISTING_KEY_MATERIAL'])),
  KeyMaterialDescription: optional(string({ min: 0, max: 256, pattern: /^[a-zA-Z0-9:/_\s.-]+$/ })),
  KeyMaterialId: optional(keyMaterialId),
});
type Request = Infer<typeof request>;

export const importKeyMaterial = operation({
  name: 'ImportKeyMaterial',
  request,
  response: object({ KeyId: optional(string()), KeyMaterialId: optional(string()) }),
  needs: {
    keys: {
      key: {
        action: 'kms:ImportKeyMaterial',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['kms:ExpirationModel', 'kms:ValidTo'],
        states: 'import',
      },
    },
  },
  effect: 'changes',
  record: ['KeyId', 'ValidTo', 'ExpirationModel', 'ImportType', 'KeyMaterialDescription', 'KeyMaterialId'],
  recordResponse: ['KeyId', 'KeyMaterialId'],
  async prepare({ request, keys, life }) {
    const { key } = keys.key;
    assertMembers(request, key);
    expiryOf(request, Date.now());
    const token = life.imports.tokens.read(request.ImportToken);
    if (token === undefined || token.keyIdDigits !== key.idDigits) throw invalidToken();
    if (token.validToMs <= Date.now()) throw expiredImportToken();
    const wrappingKey = usableWrappingKey(key, life.imports.wrappingKeys.find(token.wrappingKeyId));
    return life.imports.bring({
      keyId: key.record.keyId,
      wrappingKey,
      wrapped: request.EncryptedKeyMaterial,
      assertMayImport: (now, materialId) => assertMayImport(request, now, materialId),
    });
  },
  decide({ request, keys, prepared, directory, nowMs }) {
    const { key } = keys.key;
    const { backingKeyId, keyMaterialId } = prepared;
    assertMayImport(request, key, keyMaterialId);
    const known = key.materials.find((each) => each.backingKeyId === backingKeyId);
    const activated = prepared.activated(key, {
      validToMs: expiryOf(request, nowMs),
      materialDescription: request.KeyMaterialDescription ?? known?.materialDescription ?? '',
    });
    const isComplete = isCompletedBy(backingKeyId, key, directory);
    const members = {
      ...(key.currentMaterial === undefined ? { currentBackingKeyId: backingKeyId } : {}),
      ...(isComplete ? { state: 'Enabled' as const } : {}),
    };
    const hasOthers = Object.keys(members).length > 0;
    const changes = [
      activated,
      ...(hasOthers ? [keys.key.with(members)] : []),
      ...(known === undefined ? awaitedByReplicas(activated, key, directory) : []),
    ];
    return {
      changes,
      response: { KeyId: key.arn, KeyMaterialId: hasSeveralMaterials(key) ? keyMaterialId : undefined },
    };
  },
  async conclude({ prepared }) {
    prepared.leave();
  },
});

/** New material is waited for in all Regions that have the key; a primary key's first material is current in all of them. */
function awaitedByReplicas(activated: Change, key: KmsKey, directory: KeyView): readonly Change[] {
  if (!('put' in activated) || activated.put !== 'backingKey') return [];
  const { record: material } = activated;
  return replicasOf(directory, key.record.keyId).flatMap(({ record }) => {
    const there = directory.regions.get(record.region);
    if (there === undefined) return [];
    const awaited = awaitedIn(there, material);
    if (key.currentMaterial !== undefined) return [awaited];
    return [awaited, replaced('key', record, { currentBackingKeyId: material.backingKeyId })];
  });
}

/** Does the key wait for this material and for no other? */
function isCompletedBy(backingKeyId: BackingKeyId, key: KmsKey, directory: KeyView): boolean {
  if (lacksMaterial(key, backingKeyId)) return false;
  const { state } = key.record;
  if (state === 'PendingImport') return true;
  // Until upkeep has destroyed what expired, the record of a disabled key says that it is disabled.
  const isThere = (each: BackingKeyRecord): boolean => each.backingKeyId === backingKeyId || directory.isUsable(each);
  return state === 'Disabled' && key.state === 'PendingImport' && expiringMaterials(key).every(isThere);
}

/** @throws KmsError for what the request says of material that cannot be said of it. */
function assertMembers({ ImportType, KeyMaterialId, KeyMaterialDescription }: Request, key: KmsKey): void {
  const isSaid = [ImportType, KeyMaterialId, KeyMaterialDescription].some((member) => member !== undefined);
  if (isSaid && !hasSeveralMaterials(key)) {
    throw new KmsError(
      'UnsupportedOperationException',
      `ImportType, KeyMaterialId and KeyMaterialDescription are supported for symmetric encryption keys only, and the key spec of ${key.arn} is ${key.record.keySpec}.`,
    );
  }
  if (KeyMaterialId !== undefined && ImportType === 'NEW_KEY_MATERIAL') {
    throw new KmsError('ValidationException', 'KeyMaterialId cannot be specified when ImportType is NEW_KEY_MATERIAL.');
  }
}

/**
 * When the material is to expire, `null` for never.
 * @throws KmsError `ValidationException`.
 */
function expiryOf({ ExpirationModel = 'KEY_MATERIAL_EXPIRES', ValidTo }: Request, nowMs: number): number | null {
  if (ExpirationModel === 'KEY_MATERIAL_DOES_NOT_EXPIRE') {
    if (ValidTo === undefined) return null;
    throw new KmsError(
      'ValidationException',
      'A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE',
    );
  }
  if (ValidTo === undefined) {
    throw new KmsError(
      'ValidationException',
      'A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES',
    );
  }
  const validToMs = ValidTo.getTime();
  if (validToMs <= nowMs) throw new KmsError('ValidationException', 'The validTo date must be in the future');
  if (validToMs > nowMs + maxLifeMs) {
    throw new KmsError('ValidationException', 'The validTo date must be at most 365 days from the request date');
  }
  return validToMs;
}

/** @throws KmsError `InvalidImportTokenException` when what the token names is gone, or was never the key's. */
function usableWrappingKey({ record }: KmsKey, found: WrappingKeyRecord | undefined): WrappingKeyRecord {
  if (found?.state !== 'Active' || found.keyId !== record.keyId) throw invalidToken();
  return found;
}

/**
 * May the key be given this material, as far as it had others?
 * @throws KmsError `IncorrectKeyMaterialException`, `KMSInvalidStateException`.
 */
function assertMayImport(request: Request, key: KmsKey, materialId: string): void {
  const { materials, arn } = key;
  const known = materials.find(({ importedMaterialId }) => importedMaterialId === materialId);
  const isReplica = multiRegionKeyType(key.record) === 'REPLICA';
  if (isReplica && request.ImportType === 'NEW_KEY_MATERIAL') {
    throw new KmsError(
      'UnsupportedOperationException',
      `${arn} is a multi-Region replica key: new key material is imported into the primary key in ${key.record.primaryRegion}, and then into the replica with ImportType EXISTING_KEY_MATERIAL.`,
    );
  }
  const importType = request.ImportType ?? (materials.length === 0 ? 'NEW_KEY_MATERIAL' : 'EXISTING_KEY_MATERIAL');
  // An id is no secret and no proof: whoever names one says what he believes to import.
  if (request.KeyMaterialId !== undefined && request.KeyMaterialId !== materialId) throw incorrectMaterial();
  if (importType === 'EXISTING_KEY_MATERIAL') {
    if (known === undefined) throw incorrectMaterial();
    return;
  }
  if (isReplica) throw incorrectMaterial();
  if (known !== undefined) throw incorrectMaterial();
  const pending = pendingRotationOf(key);
  if (pending !== undefined) {
    throw new KmsError(
      'KMSInvalidStateException',
      `New key material (id: ${materialId}) cannot be imported into KMS key ${arn}, because another key material (id: ${pending.importedMaterialId}) is pending rotation.`,
    );
  }
}

function incorrectMaterial(): KmsError {
  return new KmsError('IncorrectKeyMaterialException', incorrectKeyMaterialMessage);
}

function invalidToken(): KmsError {
  return new KmsError(
    'InvalidImportTokenException',
    'The provided import token is invalid or is associated with a different KMS key.',
  );
}
