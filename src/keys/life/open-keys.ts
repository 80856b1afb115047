/**
 * The start: from the records, the HSM's objects and what a crash left half made, to a directory that can be trusted.
 *
 * What did not finish is undone, if it is this node's to undo: an intent names its owner, and another node may be at it this
 * very moment. Objects of ours in the HSM that no record names are reported and left alone: they may be another daemon's, or
 * all that is left after a lost database.
 */

import { mapBounded } from '../../store/bounded-map.ts';
import type { BegunMetadata, LoadedMetadata, MetadataStore } from '../../store/metadata-store.ts';
import { whenVerified } from '../../store/record-source.ts';
import { type Change, removed } from '../../store/records/changes.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import { GrantTokens } from '../grants/grant-tokens.ts';
import { ImportTokens } from '../import-tokens.ts';
import { KeyDirectory, type KeyDirectoryOptions } from '../key-directory.ts';
import type { KeyBudgets } from '../key-directory-options.ts';
import { AttachedRecords } from './attached-records.ts';
import { withoutDeletedKeys } from './deleted-keys.ts';
import { DomainKeys } from './domain-keys.ts';
import { KeyDeletion } from './key-deletion.ts';
import { type ImportsOfRegions, KeyImports } from './key-import.ts';
import { KeyLife } from './key-life.ts';
import type { LeftIntents } from './left-intents.ts';
import { isDestroyed, isNeeded, isOfNode, reportDifferences } from './unfinished.ts';

export interface OpenKeysOptions extends KeyDirectoryOptions {
  readonly store: Pick<MetadataStore, 'nodeId' | 'begin' | 'deriveKey' | 'scrub'>;
  /** Those of all Regions; absent: they are taken from what the store has loaded. */
  readonly domainKeys?: DomainKeys;
  /** Of all Regions; absent: what cannot be undone now is undone at the next start. */
  readonly leftIntents?: Pick<LeftIntents, 'add'> | undefined;
  /** What the imports of all Regions share, whoever opens them then calls `settleAll` of each; absent: there is no other Region. */
  readonly importsOfRegions?: ImportsOfRegions;
}

/** All Regions' key stores that are there, whose objects belong to backing keys of no Region. */
export type SettlingOptions = Pick<OpenKeysOptions, 'turns' | 'keyStores' | 'leftIntents' | 'log'> & {
  readonly store: Pick<MetadataStore, 'nodeId'>;
};

/** The keys of one Region: who they are, and what can become of them. */
export interface OpenKeys {
  readonly directory: KeyDirectory;
  readonly life: KeyLife;
  readonly deletion: KeyDeletion;
}

/**
 * Opens the keys of one Region; from then on the directory follows the changes.
 * @param metadata What the store has loaded, with what did not finish undone (`settleUnfinished`); absent: all of that is done here.
 * @throws KeyStoreError when a key store cannot be read: better not to start than to start half reconciled.
 */
export async function openKeys(options: OpenKeysOptions, metadata?: Omit<BegunMetadata, 'indexes'>): Promise<OpenKeys> {
  const { store, turns } = options;
  const directory = new KeyDirectory(options, new GrantTokens(await store.deriveKey('grant-tokens')));
  const { loaded: settled, source } = metadata ?? (await beginAndSettle(options, directory.budgets));
  directory.take(settled, source);
  turns.follow(directory);
  const attached = new AttachedRecords(options.realm.region, settled, source);
  turns.follow(attached);
  const { nodeId } = store;
  const domainKeys = options.domainKeys ?? new DomainKeys({ ...options, nodeId }, settled);
  if (options.domainKeys === undefined)
    for (const [name, keyStore] of options.keyStores) await domainKeys.settle(name, keyStore);
  if (source !== undefined) {
    const { watchedKeys } = directory;
    await mapBounded(watchedKeys.ids(), verifiedAtOnce, (keyId) => whenVerified(() => directory.readWatched(keyId)));
  }
  const tokens = new ImportTokens(await store.deriveKey('import-tokens'));
  const { importsOfRegions: ofRegions } = options;
  const imports = new KeyImports({ directory, attached, turns, nodeId, tokens, domainKeys, store, ofRegions });
  if (ofRegions === undefined) await imports.settleAll();
  const { leftIntents } = options;
  const life = new KeyLife({ directory, turns, nodeId, imports, domainKeys, leftIntents });
  return { directory, life, deletion: new KeyDeletion({ directory, attached, turns, nodeId, domainKeys, store }) };
}

/** Keys that something is due of, whose records are read at a start. */
const verifiedAtOnce = 16;

async function beginAndSettle(options: OpenKeysOptions, { memory }: KeyBudgets): Promise<BegunMetadata> {
  const begun = await options.store.begin(memory.keysInMemory);
  return { ...begun, loaded: await settleUnfinished(options, begun.loaded) };
}

/**
 * For all Regions, before any is opened: undoes what this node began and did not finish, and compares the records with the
 * HSM's objects.
 * @returns What was loaded, without what was undone.
 */
export async function settleUnfinished(options: SettlingOptions, loaded: LoadedMetadata): Promise<LoadedMetadata> {
  for (const { kind, id, reason } of loaded.quarantined) {
    options.log.error({ kind, id, reason }, 'a record does not verify and is not used');
  }
  const living = withoutDeletedKeys(loaded, options.log);
  const settled = await undoUnfinished(options, living);
  const named = new Set<string>(
    [...living.backingKey, ...living.wrappingKey, ...living.domainKey].map(({ backingKeyId }) => backingKeyId),
  );
  for (const { kind, id } of living.quarantined)
    if (kind === 'backingKey' || kind === 'wrappingKey' || kind === 'domainKey') named.add(id);
  const isNamed = (backingKeyId: string): boolean => named.has(backingKeyId);
  for (const [name, keyStore] of options.keyStores) {
    const records = living.backingKey.filter((record) => record.keyStore === name);
    await reportDifferences(name, keyStore, { records, isNamed }, options.log);
  }
  return settled;
}

async function undoUnfinished(options: SettlingOptions, loaded: LoadedMetadata): Promise<LoadedMetadata> {
  const { turns, keyStores, store, log } = options;
  // Only a backing key's own record condemns its object. An old row of the KMS key that somebody put back, still in state
  // `Creating`, must not be able to destroy material that was finished since; such a key stays, and is of no use.
  const isUnfinished = ({ state }: BackingKeyRecord): boolean => state === 'Creating';
  const finishedKeyIds = new Set(loaded.backingKey.filter((each) => !isUnfinished(each)).map(({ keyId }) => keyId));
  const isUnfinishedKey = ({ state, keyId }: LoadedMetadata['key'][number]): boolean =>
    state === 'Creating' && !finishedKeyIds.has(keyId);
  const unfinishedKeyIds = new Set(loaded.key.filter(isUnfinishedKey).map(({ keyId }) => keyId));
  const write = (changes: readonly Change[], isQuiet: boolean): Promise<void> =>
    turns.take(() => ({ changes, response: undefined }), { isQuiet });
  const left = new Set<string>();
  for (const record of loaded.backingKey.filter(isUnfinished)) {
    const { backingKeyId, keyId, owner } = record;
    const keyStore = keyStores.get(record.keyStore);
    if (isNeeded(record, loaded)) {
      log.error(
        { backingKeyId, keyId },
        'a key needs material whose record says that it was never finished; an old record was put back, and nothing is destroyed',
      );
      continue;
    }
    // It is settled when it is connected (`late-key-store.ts`).
    if (keyStore === undefined) continue;
    if (!isOfNode(record, store.nodeId)) {
      log.warn({ backingKeyId, keyId, owner }, 'an unfinished key creation is left to the node that began it');
      continue;
    }
    if (!(await isDestroyed(keyStore, backingKeyId, log))) {
      left.add(backingKeyId);
      options.leftIntents?.add(record);
      continue;
    }
    await write([removed('backingKey', record)], true);
    log.info({ backingKeyId, keyId }, 'undid an unfinished key creation');
  }
  const unfinishedKeys = [
    ...loaded.key.filter(isUnfinishedKey).map((record) => removed('key', record)),
    ...loaded.keyPolicy
      .filter(({ keyId }) => unfinishedKeyIds.has(keyId))
      .map((record) => removed('keyPolicy', record)),
  ];
  await write(unfinishedKeys, false);
  return {
    ...loaded,
    key: loaded.key.filter((key) => !unfinishedKeyIds.has(key.keyId)),
    backingKey: loaded.backingKey.filter(
      (record) => !isUnfinished(record) || !keyStores.has(record.keyStore) || left.has(record.backingKeyId),
    ),
    keyPolicy: loaded.keyPolicy.filter((policy) => !unfinishedKeyIds.has(policy.keyId)),
  };
}
