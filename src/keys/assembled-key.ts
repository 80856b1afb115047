/** What the records of a key come together to: the KMS key that they say, or what is wrong with them. */

import { digitsOfKeyId, keyArn, type Realm } from '../kms/names.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';
import { watchedOver } from './away-keys.ts';
import type { CompiledPolicies } from './compiled-policies.ts';
import type { CustomKeyStoreSource } from './custom-key-store.ts';
import type { ExpiryWatch } from './expiry-watch.ts';
import type { KeyStoresOfRegion } from './key-stores-of-region.ts';
import type { KmsKey } from './kms-key.ts';
import type { MaterialInUse } from './material-in-use.ts';
import { problemOfMaterials } from './materials-of-key.ts';
import type { KeyRecords } from './records-of-keys.ts';

export interface AssemblyParts {
  readonly realm: Realm;
  readonly inUse: MaterialInUse;
  readonly expiry: ExpiryWatch;
  readonly policies: CompiledPolicies;
  readonly customKeyStores: CustomKeyStoreSource;
  readonly keyStores: Pick<KeyStoresOfRegion, 'isShared' | 'servingName'>;
}

/**
 * @param known The key as it was, of which what did not change is kept.
 * @returns The key, or what is wrong with its records, for operators. `undefined`: there is none.
 */
export function assembledKey(
  { key: record, policy: policyRecord, backingKeys: all }: KeyRecords,
  known: KmsKey | undefined,
  { realm, inUse, expiry, policies, customKeyStores, keyStores }: AssemblyParts,
): KmsKey | string | undefined {
  if (record === undefined) return undefined;
  if (policyRecord === undefined) return 'no key policy';
  const isMade = ({ state }: BackingKeyRecord): boolean => state !== 'Creating';
  // Spread, since an array that was filled one by one has room for sixteen more, and this one is kept.
  const materials = [...[...all.values()].filter(isMade).sort((one, other) => one.ordinal - other.ordinal)];
  const problem = problemOfMaterials(record, materials);
  if (problem !== undefined) return problem;
  const active = materials.filter(({ state }) => state === 'Active');
  try {
    const backingKeys = new Map(
      active.map((each) => [each.backingKeyId, inUse.of(each, known?.backingKeys.get(each.backingKeyId))]),
    );
    const currentId = record.currentBackingKeyId;
    const { document } = policyRecord;
    const key = expiry.watched({
      record,
      state: record.state,
      arn: keyArn(realm, record.keyId),
      idDigits: digitsOfKeyId(record.keyId),
      policyRecord,
      policy: known?.policyRecord.document === document ? known.policy : policies.get(document),
      backingKeys,
      materials,
      currentMaterial: materials.find(({ backingKeyId }) => backingKeyId === currentId),
      currentBackingKey: currentId === null ? undefined : backingKeys.get(currentId),
    });
    return watchedOver(key, customKeyStores, keyStores);
  } catch (error) {
    return String(error);
  }
}
