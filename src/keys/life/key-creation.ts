/**
 * How KMS keys and their backing keys come to be, so that a crash at any moment leaves nothing half made.
 *
 * Creation: (1) the intent goes to the store, as records in state `Creating`; (2) the HSM generates the key under the
 * `CKA_ID` that the intent names; (3) the records become `Enabled` and `Active`. Nobody is told of the key before (3).
 * When (2) or (3) fails the creation is undone: the object is destroyed, then the intent removed. When that fails too, or
 * the daemon dies in between, `openKeyDirectory` does it at the next start. Rotation makes a backing key the same way.
 *
 * A metadata store that is put back from a copy made in the middle of a creation says that this creation did not finish,
 * and its key is destroyed. Copies are therefore made while the daemon is stopped.
 *
 * Objects of ours in the HSM that no record names are reported and left alone: they may be another daemon's, or all
 * that is left after a lost database.
 */

import type { KeyStore } from '../../hsm/key-store.ts';
import type { KeySpec, KeyUsage } from '../../kms/key-specs.ts';
import type { Logger } from '../../kms/logger.ts';
import { type BackingKeyId, type KeyId, newBackingKeyId } from '../../kms/names.ts';
import type { BackingKeyRecord, Change, KeyRecord, LoadedMetadata } from '../../store/metadata-store.ts';
import { GrantTokens } from '../grants/grant-tokens.ts';
import { KeyDirectory, type KeyDirectoryOptions } from '../key-directory.ts';
import { fromKeyStoreError } from '../key-store-errors.ts';
import type { KmsKey } from '../kms-key.ts';
import { serviceKeyLabelPrefix } from './service-keys.ts';

export interface NewKey {
  readonly keyId: KeyId;
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  readonly description: string;
  readonly tags: KeyRecord['tags'];
  /** The key policy's document. */
  readonly policyDocument: string;
  readonly keyStore: string;
}

/**
 * Creates a KMS key with its first backing key.
 * @throws KmsError for what the key store cannot do; nothing is left behind then.
 */
export async function createKey(directory: KeyDirectory, newKey: NewKey): Promise<KmsKey> {
  const { keyId } = newKey;
  const createdAtMs = Date.now();
  const backingKey = backingKeyRecord(keyId, 1, newKey.keyStore, createdAtMs);
  const key: KeyRecord = {
    keyId,
    state: 'Creating',
    keySpec: newKey.keySpec,
    keyUsage: newKey.keyUsage,
    origin: 'AWS_KMS',
    description: newKey.description,
    createdAtMs,
    currentBackingKeyId: backingKey.backingKeyId,
    tags: newKey.tags,
  };
  const policy = { keyId, document: newKey.policyDocument };
  return generate(directory, key, backingKey, {
    intent: [
      { put: 'key', record: key },
      { put: 'backingKey', record: backingKey },
      { put: 'keyPolicy', record: policy },
    ],
    undo: [
      { remove: 'key', id: keyId },
      { remove: 'backingKey', id: backingKey.backingKeyId },
      { remove: 'keyPolicy', id: keyId },
    ],
    commit(active) {
      const enabled: KeyRecord = { ...key, state: 'Enabled' };
      return directory.putKey({ key: enabled, backingKeys: [active], policy }, [
        { put: 'key', record: enabled },
        { put: 'backingKey', record: active },
      ]);
    },
  });
}

/** Gives a KMS key a new current backing key. The old ones stay and decrypt what they encrypted. */
export function rotateKey(directory: KeyDirectory, keyId: KeyId, exhausted: BackingKeyId): Promise<KmsKey> {
  return directory.exclusively(async () => {
    const kmsKey = directory.findKey(keyId);
    if (kmsKey === undefined) throw new TypeError(`key ${keyId} disappeared while it was being rotated`);
    // Several encryptions find the same backing key exhausted at once; the first one rotates for all.
    if (kmsKey.record.currentBackingKeyId !== exhausted) return kmsKey;
    const former = [...kmsKey.backingKeys.values()].map((backingKey) => backingKey.record);
    const backingKey = backingKeyRecord(keyId, former.length + 1, kmsKey.currentBackingKey.record.keyStore, Date.now());
    return generate(directory, kmsKey.record, backingKey, {
      intent: [{ put: 'backingKey', record: backingKey }],
      undo: [{ remove: 'backingKey', id: backingKey.backingKeyId }],
      commit(active) {
        const current = directory.findKey(keyId) ?? kmsKey;
        const rotated: KeyRecord = { ...current.record, currentBackingKeyId: active.backingKeyId };
        const policy = { keyId, document: current.policyDocument };
        return directory.putKey({ key: rotated, backingKeys: [...former, active], policy }, [
          { put: 'key', record: rotated },
          { put: 'backingKey', record: active },
        ]);
      },
    });
  });
}

function backingKeyRecord(keyId: KeyId, ordinal: number, keyStore: string, createdAtMs: number): BackingKeyRecord {
  return {
    backingKeyId: newBackingKeyId(),
    keyId,
    keyStore,
    residency: 'token',
    state: 'Creating',
    ordinal,
    createdAtMs,
    reservedEncryptions: 0,
    publicKey: null,
  };
}

interface GenerationSteps {
  readonly intent: readonly Change[];
  readonly undo: readonly Change[];
  readonly commit: (active: BackingKeyRecord) => Promise<KmsKey>;
}

async function generate(
  directory: KeyDirectory,
  key: KeyRecord,
  backingKey: BackingKeyRecord,
  steps: GenerationSteps,
): Promise<KmsKey> {
  const keyStore = directory.keyStore(backingKey.keyStore);
  await directory.writeIntent(steps.intent);
  try {
    const { publicKey } = await keyStore.generateKey({
      backingKeyId: backingKey.backingKeyId,
      label: `drawbridge:${key.keyId}:${backingKey.ordinal}`,
      keySpec: key.keySpec,
      keyUsage: key.keyUsage,
    });
    return await steps.commit({ ...backingKey, state: 'Active', publicKey });
  } catch (error) {
    await undo(directory, keyStore, backingKey.backingKeyId, steps.undo);
    throw fromKeyStoreError(error);
  }
}

/** Object first, then record: as long as the record stands, the next start knows what to look for. */
async function undo(
  directory: KeyDirectory,
  keyStore: KeyStore,
  backingKeyId: BackingKeyId,
  changes: readonly Change[],
): Promise<void> {
  try {
    await keyStore.destroyKey({ backingKeyId });
    await directory.writeIntent(changes);
  } catch (error) {
    directory.log.warn({ backingKeyId, error }, 'an unfinished key creation is undone at the next start');
  }
}

/**
 * Loads the metadata, undoes creations that did not finish, compares the records with the HSM's objects, and opens the
 * directory.
 * @param metadata What the store has loaded already, where somebody else needs it too.
 * @throws KeyStoreError when a key store cannot be read: better not to start than to start half reconciled.
 */
export async function openKeyDirectory(options: KeyDirectoryOptions, metadata?: LoadedMetadata): Promise<KeyDirectory> {
  const grantTokens = new GrantTokens(await options.store.deriveKey('grant-tokens'));
  const directory = new KeyDirectory(options, grantTokens);
  const loaded = metadata ?? (await options.store.load());
  const finished = await undoUnfinished(directory, loaded);
  directory.take(finished);
  for (const [name, keyStore] of options.keyStores) await reportDifferences(name, keyStore, loaded, options.log);
  return directory;
}

async function undoUnfinished(directory: KeyDirectory, loaded: LoadedMetadata): Promise<LoadedMetadata> {
  // Only a backing key's own record condemns its object. An old row of the KMS key that somebody put back, still in state
  // `Creating`, must not be able to destroy material that was finished since; such a key stays, and is of no use.
  const isUnfinished = (record: BackingKeyRecord): boolean => record.state === 'Creating';
  const finishedKeyIds = new Set(
    loaded.backingKey.filter((record) => !isUnfinished(record)).map((record) => record.keyId),
  );
  const unfinishedKeyIds = new Set(
    loaded.key.filter((key) => key.state === 'Creating' && !finishedKeyIds.has(key.keyId)).map((key) => key.keyId),
  );
  for (const record of loaded.backingKey.filter(isUnfinished)) {
    await directory.keyStore(record.keyStore).destroyKey({ backingKeyId: record.backingKeyId });
    await directory.writeIntent([{ remove: 'backingKey', id: record.backingKeyId }]);
    directory.log.info({ backingKeyId: record.backingKeyId, keyId: record.keyId }, 'undid an unfinished key creation');
  }
  for (const keyId of unfinishedKeyIds) {
    await directory.writeIntent([
      { remove: 'key', id: keyId },
      { remove: 'keyPolicy', id: keyId },
    ]);
  }
  return {
    ...loaded,
    key: loaded.key.filter((key) => !unfinishedKeyIds.has(key.keyId)),
    backingKey: loaded.backingKey.filter((record) => !isUnfinished(record)),
    keyPolicy: loaded.keyPolicy.filter((policy) => !unfinishedKeyIds.has(policy.keyId)),
  };
}

async function reportDifferences(name: string, keyStore: KeyStore, loaded: LoadedMetadata, log: Logger): Promise<void> {
  const found = new Map((await keyStore.listKeys()).map(({ backingKeyId, label }) => [backingKeyId as string, label]));
  for (const record of loaded.backingKey) {
    if (record.keyStore !== name || record.state !== 'Active' || found.has(record.backingKeyId)) continue;
    log.error(
      { keyStore: name, keyId: record.keyId, backingKeyId: record.backingKeyId },
      'a backing key is not in the HSM',
    );
  }
  const named = new Set<string>(loaded.backingKey.map((record) => record.backingKeyId));
  for (const { kind, id } of loaded.quarantined) if (kind === 'backingKey') named.add(id);
  for (const [backingKeyId, label] of found) {
    if (named.has(backingKeyId) || label.startsWith(serviceKeyLabelPrefix)) continue;
    log.warn({ keyStore: name, backingKeyId, label }, 'an object in the HSM belongs to no record; it is left alone');
  }
}
