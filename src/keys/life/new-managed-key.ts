/**
 * How an AWS managed key comes to be: `alias/aws/SERVICE`, made by the daemon itself and by nobody's request.
 *
 * As CreateKey makes its keys: material under an intent, then one turn whose change names all of it, so that a crash leaves the
 * whole key or an intent that the next start undoes. The alias is the mark that it was made. Whoever finds it makes nothing, in
 * the turn again, so that two who make the same key leave one.
 */

import { type AliasName, type KeyId, managedAliasName } from '../../kms/names.ts';
import { added, type Change } from '../../store/records/changes.ts';
import type { KeyRecord } from '../../store/records/records.ts';
import type { Turns } from '../../store/turns.ts';
import type { KeyDirectory } from '../key-directory.ts';
import { assertTokenCanHold } from '../token-capabilities.ts';
import { unusedKeyId } from '../unused-key-id.ts';
import type { GeneratedMaterial, KeyLife } from './key-life.ts';

/** AWS's: about a year, and nobody can have it otherwise. */
const rotationPeriodDays = 365;
const dayMs = 24 * 60 * 60 * 1000;
const kind = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;

export interface ManagedKey {
  /** As in `alias/aws/SERVICE`. */
  readonly service: string;
  /** The document of its key policy. */
  readonly policy: string;
}

interface Parts {
  readonly directory: KeyDirectory;
  readonly life: Pick<KeyLife, 'generate' | 'residencyIn'>;
  readonly turns: Turns;
}

/**
 * Makes the key of a service, unless it was made before.
 * @returns Its id, if it was made now.
 * @throws KmsError, StoreError: nothing is left behind then, or what is left is undone at the next start.
 */
export async function makeManagedKey(
  wanted: ManagedKey,
  { directory, life, turns }: Parts,
): Promise<KeyId | undefined> {
  const aliasName = managedAliasName(wanted.service);
  const isMade = (): boolean => directory.aliases.find(aliasName) !== undefined;
  if (isMade()) return undefined;
  const { defaultKeyStore: keyStore } = directory;
  assertTokenCanHold(directory.keyStore(keyStore), { ...kind, residency: life.residencyIn(keyStore) });
  const keyId = unusedKeyId(directory);
  const material = await life.generate({ keyId, ...kind, keyStore, ordinal: 1 });
  try {
    const isOurs = await turns.take(() =>
      isMade()
        ? { changes: [], response: false }
        : { changes: newKey({ ...wanted, directory, aliasName, keyId, material, nowMs: Date.now() }), response: true },
    );
    if (isOurs) return keyId;
  } catch (error) {
    await material.undo();
    throw error;
  }
  await material.undo();
  return undefined;
}

interface NewKey extends ManagedKey {
  readonly directory: KeyDirectory;
  readonly aliasName: AliasName;
  readonly keyId: KeyId;
  readonly material: GeneratedMaterial;
  readonly nowMs: number;
}

function newKey({ directory, service, policy, aliasName, keyId, material, nowMs }: NewKey): readonly Change[] {
  const { region } = directory.realm;
  const record: KeyRecord = {
    region,
    keyId,
    version: 1,
    state: 'Enabled',
    ...kind,
    origin: 'AWS_KMS',
    keyManager: 'AWS',
    description: `Default key of ${service}, for what names no other key`,
    createdAtMs: nowMs,
    currentBackingKeyId: material.backingKeyId,
    tags: [],
    deletionDateMs: null,
    rotationPeriodDays,
    nextRotationDateMs: nowMs + rotationPeriodDays * dayMs,
    primaryRegion: '',
    deletionWindowDays: null,
  };
  return [
    material.activated(),
    added('key', record),
    added('keyPolicy', { region, keyId, version: 1, document: policy }),
    // As CreateAlias numbers them.
    added('alias', { region, aliasName, version: nowMs, keyId, createdAtMs: nowMs, updatedAtMs: nowMs }),
  ];
}
