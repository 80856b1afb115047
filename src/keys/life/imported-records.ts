/** The records of imported material, and the changes that make it the material of a KMS key. */

import type { BackingKeyId } from '../../kms/names.ts';
import { added, type Change, replaced } from '../../store/records/changes.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import type { KmsKey } from '../kms-key.ts';

/** The change that makes material that was prepared the KMS key's, as one of those of a turn. */
export type Activation = (key: KmsKey, members: Pick<BackingKeyRecord, 'validToMs' | 'materialDescription'>) => Change;

/** Material that is in the HSM while no change says so yet, but where it was there before. */
export interface ArrivedMaterial {
  readonly backingKeyId: BackingKeyId;
  readonly keyMaterialId: string;
  /** The change that makes it the KMS key's, as one of those of a turn. */
  readonly activated: Activation;
  /** For when the turn refuses. Never rejects. */
  undo(): Promise<void>;
  /** For when it does not: the next import into the key may begin. */
  leave(): void;
}

/** @param prepared The record as it was prepared; of what was there before, its counter may have gone on since. */
export function activation(prepared: BackingKeyRecord): Activation {
  return (key, members) => {
    const { backingKeyId, keyStore, publicKey } = prepared;
    const record = key.materials.find((each) => each.backingKeyId === backingKeyId) ?? prepared;
    return replaced('backingKey', record, { ...members, keyStore, publicKey, state: 'Active', owner: '' });
  };
}

export type WrappedMembers = Pick<
  BackingKeyRecord,
  'residency' | 'publicKey' | 'wrappedKey' | 'domainKeyId' | 'wrappedKeySpec' | 'wrappedKeyUsage'
>;
/** What may open copies of the record from before, where it is another key store's by now. */
export type FormerDomainKeys = (known: BackingKeyRecord) => Pick<BackingKeyRecord, 'formerDomainKeyIds'>;

/** The record of wrapped material: that which it had, with another blob, or a new one. */
export function wrappedActivation(
  made: WrappedMembers & Pick<BackingKeyRecord, 'backingKeyId' | 'importedMaterialId' | 'keyStore' | 'regions'>,
  { record: { keyId }, materials }: KmsKey,
  members: Pick<BackingKeyRecord, 'validToMs' | 'materialDescription'>,
  formerly: FormerDomainKeys,
): Change {
  const active = { ...made, ...members, state: 'Active', owner: '' } as const;
  const known = materials.find(({ backingKeyId }) => backingKeyId === made.backingKeyId);
  // A former version named no Region, and what names a record stays.
  if (known !== undefined)
    return replaced('backingKey', known, { ...active, ...formerly(known), regions: known.regions });
  return added('backingKey', { ...newImportedRecord({ ...made, keyId, ordinal: materials.length + 1 }), ...active });
}

export function newImportedRecord(
  members: Pick<BackingKeyRecord, 'backingKeyId' | 'importedMaterialId' | 'keyStore' | 'keyId' | 'regions' | 'ordinal'>,
) {
  const { backingKeyId, importedMaterialId, keyStore, keyId, regions, ordinal } = members;
  return {
    ...{ backingKeyId, importedMaterialId, keyStore, keyId, regions, ordinal },
    version: 1,
    state: 'Creating' as const,
    createdAtMs: Date.now(),
    reservedEncryptions: 0,
    publicKey: null,
    rotationType: null,
    rotatedAtMs: null,
    materialDescription: '',
    validToMs: null,
    formerDomainKeyIds: '',
  };
}
