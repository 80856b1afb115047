/** Makes KMS keys as CreateKey does, without a caller: material under an intent, and a turn that names it. */

import type { KeyDirectory } from '../../src/keys/key-directory.ts';
import type { KmsKey } from '../../src/keys/kms-key.ts';
import type { KeyLife } from '../../src/keys/life/key-life.ts';
import { unusedKeyId } from '../../src/keys/unused-key-id.ts';
import type { KeySpec, KeyUsage } from '../../src/kms/key-specs.ts';
import type { KeyId } from '../../src/kms/names.ts';
import { added } from '../../src/store/records/changes.ts';
import type { KeyRecord } from '../../src/store/records/records.ts';
import type { Turns } from '../../src/store/turns.ts';

export interface NewTestKey {
  readonly keySpec?: KeySpec;
  readonly keyUsage?: KeyUsage;
  /** For material that is imported: it has none. */
  readonly origin?: 'EXTERNAL';
  readonly policyDocument: string;
  /** For a key of several Regions; otherwise a new one. */
  readonly keyId?: KeyId;
}

export async function newTestKey(
  keys: { readonly directory: KeyDirectory; readonly life: KeyLife; readonly turns: Turns },
  wanted: NewTestKey,
): Promise<KmsKey> {
  const { directory, life, turns } = keys;
  const { keySpec = 'SYMMETRIC_DEFAULT', keyUsage = 'ENCRYPT_DECRYPT', policyDocument: document } = wanted;
  const { region } = directory.realm;
  const keyId = wanted.keyId ?? unusedKeyId(directory);
  const material =
    wanted.origin === 'EXTERNAL'
      ? undefined
      : await life.generate({ keyId, keySpec, keyUsage, keyStore: directory.defaultKeyStore, ordinal: 1 });
  const record: KeyRecord = {
    region,
    keyId,
    version: 1,
    state: material === undefined ? 'PendingImport' : 'Enabled',
    keySpec,
    keyUsage,
    origin: wanted.origin ?? 'AWS_KMS',
    description: '',
    createdAtMs: Date.now(),
    currentBackingKeyId: material?.backingKeyId ?? null,
    tags: [],
    deletionDateMs: null,
    keyManager: 'CUSTOMER',
    rotationPeriodDays: null,
    nextRotationDateMs: null,
    primaryRegion: '',
    deletionWindowDays: null,
  };
  const policy = { region, keyId, version: 1, document };
  const activated = material === undefined ? [] : [material.activated()];
  const changes = [...activated, added('key', record), added('keyPolicy', policy)];
  await turns.take(() => ({ changes, response: undefined }));
  const key = directory.findKey(keyId);
  if (key === undefined) throw new TypeError('a key that was made is not there');
  return key;
}
