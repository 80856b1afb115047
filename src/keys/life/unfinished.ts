/** What did not finish, and what differs: how records and the objects of an HSM are compared before keys are used. */

import {
  type KeyStore,
  KeyStoreError,
  type KeyStoreStatus,
  markLabelPrefix,
  serviceKeyLabelPrefix,
} from '../../hsm/key-store.ts';
import type { Logger } from '../../kms/logger.ts';
import type { BackingKeyId } from '../../kms/names.ts';
import type { LoadedMetadata } from '../../store/metadata-store.ts';
import { type Change, removed } from '../../store/records/changes.ts';
import type { BackingKeyRecord, DomainKeyRecord } from '../../store/records/records.ts';

/** Is it this node's to undo? Records of former versions name no owner: there was one node then. */
export function isOfNode({ owner }: BackingKeyRecord, nodeId: string): boolean {
  return owner === nodeId || owner === '';
}

/**
 * Would the KMS key miss this material? An intent that somebody put back over the record that it became must not destroy what
 * was finished since: a key names it as its own, or the key has later material and none in its place. Where the place is taken,
 * this is a rotation that failed while its object could not be destroyed, and another one came after it.
 */
export function isNeeded(
  { backingKeyId, keyId, ordinal }: BackingKeyRecord,
  { key, backingKey }: Pick<LoadedMetadata, 'key' | 'backingKey'>,
): boolean {
  const made = backingKey.filter((each) => each.keyId === keyId && each.state !== 'Creating');
  return (
    key.some((each) => each.currentBackingKeyId === backingKeyId && each.state !== 'Creating') ||
    (made.some((each) => each.ordinal > ordinal) && !made.some((each) => each.ordinal === ordinal))
  );
}

/**
 * Destroys an object, or finds that a member of the key store may have it that is not there: it is left, with its intent, until
 * that is there. One HSM that is away keeps nobody from starting with the others.
 * @returns Is it gone?
 */
export async function isDestroyed(
  keyStore: Pick<KeyStore, 'destroyKey'>,
  backingKeyId: BackingKeyId,
  log: Logger,
): Promise<boolean> {
  try {
    await keyStore.destroyKey({ backingKeyId });
    return true;
  } catch (error) {
    if (!isOfMissingMember(error)) throw error;
    log.warn({ backingKeyId, problem: error.message }, 'what was begun is undone when all HSMs are there');
    return false;
  }
}

/** Is it for want of one HSM of several, while another one answers? */
export function isOfMissingMember(error: unknown): error is KeyStoreError {
  return error instanceof KeyStoreError && error.failure === 'away';
}

/** The members of a key store that are not there and have not left, by name; none of one that is one token. */
function missingMembers({ members = [] }: KeyStoreStatus): readonly string[] {
  return members.filter(({ state, hasLeft }) => state !== 'connected' && !hasLeft).map(({ name }) => name);
}

/**
 * The changes that drop the intents of creations from records that are put back from a copy. What a start undoes with the HSM's
 * object is what this node did not finish; a copy made in the middle of a creation does not know what became of it. It may have been a key
 * for months, and its record be in a later copy, so its object is left alone, as one that belongs to no record.
 */
export function withoutIntents(loaded: LoadedMetadata): readonly Change[] {
  // What is needed no start undoes, either.
  const used = new Set(loaded.backingKey.flatMap(({ wrappedKey, domainKeyId }) => (wrappedKey && domainKeyId) ?? []));
  const isUnused = ({ state, backingKeyId }: DomainKeyRecord): boolean =>
    state === 'Creating' && !used.has(backingKeyId);
  const intended = loaded.backingKey.filter((record) => record.state === 'Creating' && !isNeeded(record, loaded));
  return [
    ...intended.map((record) => removed('backingKey', record)),
    ...loaded.wrappingKey.flatMap((record) => (record.state === 'Creating' ? [removed('wrappingKey', record)] : [])),
    ...loaded.domainKey.filter(isUnused).map((record) => removed('domainKey', record)),
    // The move may have ended since, and the object be all that there is of the key.
    ...loaded.remnant.map((record) => removed('remnant', record)),
  ];
}

/** Of either kind, for each key store: whoever connected another token would have a line for each key that there is. */
const maxReported = 100;

/** In plain words, once, for whoever has restored one of the two. */
const whatIsMissingMeans =
  'the HSM is older than the metadata, as one that was restored from a backup of before, or keys were destroyed in it: until it has them again, those KMS keys cannot be used; restore its newest backup, and see `drawbridge census`';
const whatIsUnnamedMeans =
  'the metadata are older than the HSM, as after a restore from a backup of before, or another instance uses the same token: what no record names is used by nobody here; see `drawbridge census`';

interface OnRecord {
  /** What is on record of material in the key store. */
  readonly records: readonly BackingKeyRecord[];
  /** Is there a record of an object of ours with this id? */
  readonly isNamed: (backingKeyId: string) => boolean;
}

/** Tells in the log what the records name and the HSM lacks, and what of ours it has that no record names. */
export async function reportDifferences(
  name: string,
  keyStore: Pick<KeyStore, 'listKeys' | 'status'>,
  { records, isNamed }: OnRecord,
  log: Logger,
): Promise<void> {
  const objects = await keyStore.listKeys();
  const found = new Map(objects.map(({ backingKeyId, label }) => [backingKeyId as string, label]));
  const notFound = records.filter(
    ({ state, residency, backingKeyId }) => state === 'Active' && residency !== 'wrapped' && !found.has(backingKeyId),
  );
  const away = missingMembers(keyStore.status());
  if (away.length > 0 && notFound.length > 0)
    log.warn({ keyStore: name, away, backingKeys: notFound.length }, 'backing keys are in no member that is there');
  const missing = away.length > 0 ? [] : notFound;
  for (const { keyId, backingKeyId } of missing.slice(0, maxReported)) {
    log.error({ keyStore: name, keyId, backingKeyId }, 'a backing key is not in the HSM');
  }
  if (missing.length > maxReported) {
    log.error({ keyStore: name, missing: missing.length }, 'more backing keys are not in the HSM than are named here');
  }
  if (missing.length > 0) log.error({ keyStore: name, backingKeys: missing.length }, whatIsMissingMeans);
  const isOwn = (label: string): boolean => [serviceKeyLabelPrefix, markLabelPrefix].some((is) => label.startsWith(is));
  const unnamed = [...found].filter(([id, label]) => !isNamed(id) && !isOwn(label));
  for (const [backingKeyId, label] of unnamed.slice(0, maxReported)) {
    log.warn({ keyStore: name, backingKeyId, label }, 'an object in the HSM belongs to no record; it is left alone');
  }
  if (unnamed.length > maxReported) {
    log.warn({ keyStore: name, unnamed: unnamed.length }, 'more objects belong to no record than are named here');
  }
  if (unnamed.length > 0) log.warn({ keyStore: name, objects: unnamed.length }, whatIsUnnamedMeans);
}
