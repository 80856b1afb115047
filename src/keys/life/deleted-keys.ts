/**
 * At start: what is on record of keys that were deleted.
 *
 * Beside a tombstone there are records of its key only while the destruction is under way: a key that is pending deletion, none
 * of whose material can be used. Everything else beside it was put back from an old copy of the database. It is named and not
 * used, and stays where it is, as evidence.
 */

import type { Logger } from '../../kms/logger.ts';
import type { LoadedMetadata } from '../../store/metadata-store.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import { namesRegion } from '../regions-of-material.ts';

interface OfKey {
  readonly region: string;
  readonly keyId: string;
}

const nameOf = ({ region, keyId }: OfKey): string => `${region} ${keyId}`;

/** What was loaded, without what belongs to keys that are gone. */
export function withoutDeletedKeys(loaded: LoadedMetadata, log: Logger): LoadedMetadata {
  const buried = new Set(loaded.tombstone.map(nameOf));
  // One that was edited is no reason to trust what lies under it.
  for (const { kind, id, region } of loaded.quarantined) if (kind === 'tombstone') buried.add(`${region} ${id}`);
  if (buried.size === 0) return loaded;
  const materials = Map.groupBy(loaded.backingKey, ({ keyId }) => keyId);
  for (const { region, keyId, state } of loaded.key) {
    const isUsable =
      materials.get(keyId)?.some((each) => each.state === 'Active' && namesRegion(each, region)) === true;
    if (state === 'PendingDeletion' && !isUsable) buried.delete(nameOf({ region, keyId }));
  }
  if (buried.size === 0) return loaded;

  const isBuried = (record: OfKey): boolean => buried.has(nameOf(record));
  const refuse = (kind: string, id: string, keyId: string): void =>
    log.error({ kind, id, keyId }, 'a record of a KMS key that was deleted is in the database again; it is not used');
  const kept = <Kept extends OfKey>(kind: string, records: readonly Kept[], idOf: (record: Kept) => string): Kept[] =>
    records.filter((record) => {
      if (!isBuried(record)) return true;
      refuse(kind, idOf(record), record.keyId);
      return false;
    });
  const key = kept('key', loaded.key, ({ keyId }) => keyId);
  // It goes with the last Region that has the key, of those that it names.
  const living = new Set<string>(key.map(({ keyId }) => keyId));
  const gone = new Set([...buried].map((name) => name.slice(name.indexOf(' ') + 1)));
  const isKept = ({ keyId, regions, state, backingKeyId }: BackingKeyRecord): boolean => {
    const isOfLiving =
      living.has(keyId) && !(regions !== '' && regions.split(' ').every((region) => isBuried({ region, keyId })));
    // An intent is undone by whoever began it, whatever became of the key.
    if (!gone.has(keyId) || isOfLiving || state === 'Creating') return true;
    refuse('backingKey', backingKeyId, keyId);
    return false;
  };
  return {
    ...loaded,
    key,
    backingKey: loaded.backingKey.filter(isKept),
    keyPolicy: kept('keyPolicy', loaded.keyPolicy, ({ keyId }) => keyId),
    alias: kept('alias', loaded.alias, ({ aliasName }) => aliasName),
    grant: kept('grant', loaded.grant, ({ grantId }) => grantId),
    lastUse: kept('lastUse', loaded.lastUse, ({ keyId }) => keyId),
    wrappingKey: kept('wrappingKey', loaded.wrappingKey, ({ backingKeyId }) => backingKeyId),
  };
}
